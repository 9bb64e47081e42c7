// What Grafana's own types say of a dashboard's JSON: test_dashboard.py writes the dashboard after these lines.
import type { Dashboard, DataQuery } from "@grafana/schema";
import type * as stat from "@grafana/schema/dist/esm/raw/composable/stat/panelcfg/x/StatPanelCfg_types.gen";
import type * as timeseries from "@grafana/schema/dist/esm/raw/composable/timeseries/panelcfg/x/TimeSeriesPanelCfg_types.gen";

/** As JSON has it: the value of an enum instead of the enum. */
type Json<T> = T extends string ? `${T}` : T extends object ? { [K in keyof T]: Json<T[K]> } : T;

/** What Grafana's Prometheus asks. Its own types are in no package of types. */
interface Query extends DataQuery {
  expr: string;
  legendFormat: string;
  instant?: boolean;
  range?: boolean;
}
