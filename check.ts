import type {Dashboard, Panel} from "@grafana/schema";
import type * as stat from "@grafana/schema/dist/esm/raw/composable/stat/panelcfg/x/StatPanelCfg_types.gen";
import type * as timeseries from "@grafana/schema/dist/esm/raw/composable/timeseries/panelcfg/x/TimeSeriesPanelCfg_types.gen";
type Json<T> = T extends string ? `${T}` : T extends object ? {[K in keyof T]: Json<T[K]>} : T;

export const dashboard: Json<Dashboard> = {
 "uid": "engage",
 "title": "Engage",
 "tags": [
  "engage"
 ],
 "timezone": "browser",
 "schemaVersion": 41,
 "version": 2,
 "refresh": "5s",
 "time": {
  "from": "now-30m",
  "to": "now"
 },
 "graphTooltip": 1,
 "editable": true,
 "templating": {
  "list": [
   {
    "name": "datasource",
    "label": "Prometheus",
    "type": "datasource",
    "query": "prometheus",
    "current": {
     "text": "Prometheus",
     "value": "prometheus"
    },
    "hide": 0,
    "includeAll": false,
    "multi": false,
    "options": [],
    "refresh": 1,
    "regex": ""
   },
   {
    "name": "job",
    "label": "Job",
    "type": "query",
    "datasource": {
     "type": "prometheus",
     "uid": "${datasource}"
    },
    "query": {
     "query": "label_values(engage_partitions_assigned, job)",
     "refId": "job"
    },
    "definition": "label_values(engage_partitions_assigned, job)",
    "refresh": 2,
    "includeAll": false,
    "multi": false,
    "current": {
     "text": "engage",
     "value": "engage"
    },
    "hide": 0,
    "options": [],
    "regex": "",
    "sort": 1
   },
   {
    "name": "rule",
    "label": "Rule",
    "type": "query",
    "datasource": {
     "type": "prometheus",
     "uid": "${datasource}"
    },
    "query": {
     "query": "label_values(engage_decisions_total{job=~\"$job\"}, rule)",
     "refId": "rule"
    },
    "definition": "label_values(engage_decisions_total{job=~\"$job\"}, rule)",
    "refresh": 2,
    "includeAll": true,
    "allValue": ".*",
    "multi": true,
    "current": {
     "text": "All",
     "value": "$__all"
    },
    "hide": 0,
    "options": [],
    "regex": "",
    "sort": 1
   }
  ]
 },
 "annotations": {
  "list": [
   {
    "name": "Rules published",
    "datasource": {
     "type": "prometheus",
     "uid": "${datasource}"
    },
    "enable": true,
    "iconColor": "blue",
    "expr": "count by (digest) (engage_rule_set_info{job=~\"$job\"} == 1) unless count by (digest) (engage_rule_set_info{job=~\"$job\"} offset 1m == 1)",
    "step": "30s",
    "titleFormat": "Rules {{digest}}",
    "tagKeys": "digest",
    "useValueForTime": false
   },
   {
    "name": "Rules paused",
    "datasource": {
     "type": "prometheus",
     "uid": "${datasource}"
    },
    "enable": true,
    "iconColor": "orange",
    "expr": "max by (rule) (engage_rule_paused{job=~\"$job\"} == 1) unless max by (rule) (engage_rule_paused{job=~\"$job\"} offset 1m == 1)",
    "step": "30s",
    "titleFormat": "Paused: {{rule}}",
    "tagKeys": "rule",
    "useValueForTime": false
   },
   {
    "name": "Alerts",
    "datasource": {
     "type": "prometheus",
     "uid": "${datasource}"
    },
    "enable": true,
    "iconColor": "red",
    "expr": "ALERTS{alertstate=\"firing\", job=~\"$job|\"}",
    "step": "30s",
    "titleFormat": "{{alertname}}",
    "tagKeys": "severity",
    "useValueForTime": false
   }
  ]
 },
 "panels": [
  {
   "id": 1,
   "type": "stat",
   "title": "Events per second",
   "description": "Events decided and committed, of all topics.",
   "datasource": {
    "type": "prometheus",
    "uid": "${datasource}"
   },
   "gridPos": {
    "h": 4,
    "w": 3,
    "x": 0,
    "y": 0
   },
   "fieldConfig": {
    "defaults": {
     "unit": "eps",
     "min": 0
    },
    "overrides": []
   },
   "options": {
    "reduceOptions": {
     "calcs": [
      "lastNotNull"
     ],
     "values": false,
     "fields": ""
    },
    "colorMode": "value",
    "graphMode": "none",
    "justifyMode": "auto",
    "textMode": "auto",
    "orientation": "auto"
   },
   "targets": [
    {
     "refId": "A",
     "datasource": {
      "type": "prometheus",
      "uid": "${datasource}"
     },
     "expr": "sum(rate(engage_events_total{job=~\"$job\"}[$__rate_interval]))",
     "legendFormat": "events",
     "instant": true,
     "range": false
    }
   ]
  },
  {
   "id": 2,
   "type": "stat",
   "title": "Records waiting",
   "description": "Records that are produced and not yet decided.",
   "datasource": {
    "type": "prometheus",
    "uid": "${datasource}"
   },
   "gridPos": {
    "h": 4,
    "w": 3,
    "x": 3,
    "y": 0
   },
   "fieldConfig": {
    "defaults": {
     "unit": "short",
     "min": 0
    },
    "overrides": []
   },
   "options": {
    "reduceOptions": {
     "calcs": [
      "lastNotNull"
     ],
     "values": false,
     "fields": ""
    },
    "colorMode": "value",
    "graphMode": "none",
    "justifyMode": "auto",
    "textMode": "auto",
    "orientation": "auto"
   },
   "targets": [
    {
     "refId": "A",
     "datasource": {
      "type": "prometheus",
      "uid": "${datasource}"
     },
     "expr": "sum(engage_lag_records{job=~\"$job\"})",
     "legendFormat": "lag",
     "instant": true,
     "range": false
    }
   ]
  },
  {
   "id": 3,
   "type": "stat",
   "title": "Workers up",
   "description": "Workers whose metrics can be read.",
   "datasource": {
    "type": "prometheus",
    "uid": "${datasource}"
   },
   "gridPos": {
    "h": 4,
    "w": 3,
    "x": 6,
    "y": 0
   },
   "fieldConfig": {
    "defaults": {
     "unit": "short",
     "min": 0
    },
    "overrides": []
   },
   "options": {
    "reduceOptions": {
     "calcs": [
      "lastNotNull"
     ],
     "values": false,
     "fields": ""
    },
    "colorMode": "value",
    "graphMode": "none",
    "justifyMode": "auto",
    "textMode": "auto",
    "orientation": "auto"
   },
   "targets": [
    {
     "refId": "A",
     "datasource": {
      "type": "prometheus",
      "uid": "${datasource}"
     },
     "expr": "sum(up{job=~\"$job\"})",
     "legendFormat": "workers",
     "instant": true,
     "range": false
    }
   ]
  },
  {
   "id": 4,
   "type": "stat",
   "title": "Partitions worked on",
   "description": "Should be the number of partitions of a topic.",
   "datasource": {
    "type": "prometheus",
    "uid": "${datasource}"
   },
   "gridPos": {
    "h": 4,
    "w": 3,
    "x": 9,
    "y": 0
   },
   "fieldConfig": {
    "defaults": {
     "unit": "short",
     "min": 0
    },
    "overrides": []
   },
   "options": {
    "reduceOptions": {
     "calcs": [
      "lastNotNull"
     ],
     "values": false,
     "fields": ""
    },
    "colorMode": "value",
    "graphMode": "none",
    "justifyMode": "auto",
    "textMode": "auto",
    "orientation": "auto"
   },
   "targets": [
    {
     "refId": "A",
     "datasource": {
      "type": "prometheus",
      "uid": "${datasource}"
     },
     "expr": "sum(engage_partitions_assigned{job=~\"$job\"})",
     "legendFormat": "partitions",
     "instant": true,
     "range": false
    }
   ]
  },
  {
   "id": 5,
   "type": "stat",
   "title": "Waiting for Kafka or Redis",
   "description": "Workers that wait for a system that does not answer.",
   "datasource": {
    "type": "prometheus",
    "uid": "${datasource}"
   },
   "gridPos": {
    "h": 4,
    "w": 3,
    "x": 12,
    "y": 0
   },
   "fieldConfig": {
    "defaults": {
     "unit": "short",
     "min": 0,
     "thresholds": {
      "mode": "absolute",
      "steps": [
       {
        "color": "green",
        "value": null
       },
       {
        "color": "red",
        "value": 1
       }
      ]
     },
     "color": {
      "mode": "thresholds"
     }
    },
    "overrides": []
   },
   "options": {
    "reduceOptions": {
     "calcs": [
      "lastNotNull"
     ],
     "values": false,
     "fields": ""
    },
    "colorMode": "value",
    "graphMode": "none",
    "justifyMode": "auto",
    "textMode": "auto",
    "orientation": "auto"
   },
   "targets": [
    {
     "refId": "A",
     "datasource": {
      "type": "prometheus",
      "uid": "${datasource}"
     },
     "expr": "sum by (system) (engage_waiting{job=~\"$job\"})",
     "legendFormat": "{{system}}",
     "instant": true,
     "range": false
    }
   ]
  },
  {
   "id": 6,
   "type": "stat",
   "title": "Active rule set",
   "description": "Digest of the rule set and how many workers decide by it; more than one for long means a worker is behind.",
   "datasource": {
    "type": "prometheus",
    "uid": "${datasource}"
   },
   "gridPos": {
    "h": 4,
    "w": 3,
    "x": 15,
    "y": 0
   },
   "fieldConfig": {
    "defaults": {
     "unit": "short",
     "min": 0
    },
    "overrides": []
   },
   "options": {
    "reduceOptions": {
     "calcs": [
      "lastNotNull"
     ],
     "values": false,
     "fields": ""
    },
    "colorMode": "value",
    "graphMode": "none",
    "justifyMode": "auto",
    "textMode": "value_and_name",
    "orientation": "auto"
   },
   "targets": [
    {
     "refId": "A",
     "datasource": {
      "type": "prometheus",
      "uid": "${datasource}"
     },
     "expr": "count by (digest) (engage_rule_set_info{job=~\"$job\"} == 1)",
     "legendFormat": "{{digest}}",
     "instant": true,
     "range": false
    }
   ]
  },
  {
   "id": 30,
   "type": "stat",
   "title": "Alerts firing",
   "description": "Alerts of deploy/prometheus/alerts.yml that fire now; Prometheus names them under /alerts.",
   "datasource": {
    "type": "prometheus",
    "uid": "${datasource}"
   },
   "gridPos": {
    "h": 4,
    "w": 3,
    "x": 18,
    "y": 0
   },
   "fieldConfig": {
    "defaults": {
     "unit": "short",
     "min": 0,
     "thresholds": {
      "mode": "absolute",
      "steps": [
       {
        "color": "green",
        "value": null
       },
       {
        "color": "red",
        "value": 1
       }
      ]
     },
     "color": {
      "mode": "thresholds"
     }
    },
    "overrides": []
   },
   "options": {
    "reduceOptions": {
     "calcs": [
      "lastNotNull"
     ],
     "values": false,
     "fields": ""
    },
    "colorMode": "value",
    "graphMode": "none",
    "justifyMode": "auto",
    "textMode": "auto",
    "orientation": "auto"
   },
   "targets": [
    {
     "refId": "A",
     "datasource": {
      "type": "prometheus",
      "uid": "${datasource}"
     },
     "expr": "count(ALERTS{alertstate=\"firing\",job=~\"$job|\"}) or vector(0)",
     "legendFormat": "alerts",
     "instant": true,
     "range": false
    }
   ]
  },
  {
   "id": 31,
   "type": "stat",
   "title": "Rules paused",
   "description": "Rules that act for nobody, by a person or by the breaker. engage rules status names them; engage rules resume ends a pause.",
   "datasource": {
    "type": "prometheus",
    "uid": "${datasource}"
   },
   "gridPos": {
    "h": 4,
    "w": 3,
    "x": 21,
    "y": 0
   },
   "fieldConfig": {
    "defaults": {
     "unit": "short",
     "min": 0,
     "thresholds": {
      "mode": "absolute",
      "steps": [
       {
        "color": "green",
        "value": null
       },
       {
        "color": "orange",
        "value": 1
       }
      ]
     },
     "color": {
      "mode": "thresholds"
     }
    },
    "overrides": []
   },
   "options": {
    "reduceOptions": {
     "calcs": [
      "lastNotNull"
     ],
     "values": false,
     "fields": ""
    },
    "colorMode": "value",
    "graphMode": "none",
    "justifyMode": "auto",
    "textMode": "auto",
    "orientation": "auto"
   },
   "targets": [
    {
     "refId": "A",
     "datasource": {
      "type": "prometheus",
      "uid": "${datasource}"
     },
     "expr": "max(sum by (instance) (engage_rule_paused{job=~\"$job\"})) or vector(0)",
     "legendFormat": "paused",
     "instant": true,
     "range": false
    }
   ]
  },
  {
   "id": 100,
   "type": "row",
   "title": "Events in",
   "collapsed": false,
   "gridPos": {
    "h": 1,
    "w": 24,
    "x": 0,
    "y": 4
   },
   "panels": []
  },
  {
   "id": 7,
   "type": "timeseries",
   "title": "Events by topic",
   "description": "Events decided and committed.",
   "datasource": {
    "type": "prometheus",
    "uid": "${datasource}"
   },
   "gridPos": {
    "h": 8,
    "w": 8,
    "x": 0,
    "y": 5
   },
   "fieldConfig": {
    "defaults": {
     "unit": "eps",
     "min": 0,
     "custom": {
      "drawStyle": "line",
      "lineInterpolation": "linear",
      "fillOpacity": 30,
      "showPoints": "never",
      "spanNulls": false,
      "stacking": {
       "mode": "normal",
       "group": "A"
      }
     }
    },
    "overrides": []
   },
   "options": {
    "legend": {
     "showLegend": true,
     "displayMode": "list",
     "placement": "bottom",
     "calcs": []
    },
    "tooltip": {
     "mode": "multi",
     "sort": "desc"
    }
   },
   "targets": [
    {
     "refId": "A",
     "datasource": {
      "type": "prometheus",
      "uid": "${datasource}"
     },
     "expr": "sum by (topic) (rate(engage_events_total{job=~\"$job\"}[$__rate_interval]))",
     "legendFormat": "{{topic}}"
    }
   ]
  },
  {
   "id": 8,
   "type": "timeseries",
   "title": "Lag by topic",
   "description": "Records not yet decided. If it grows, start more workers, up to one for each partition.",
   "datasource": {
    "type": "prometheus",
    "uid": "${datasource}"
   },
   "gridPos": {
    "h": 8,
    "w": 8,
    "x": 8,
    "y": 5
   },
   "fieldConfig": {
    "defaults": {
     "unit": "short",
     "min": 0,
     "custom": {
      "drawStyle": "line",
      "lineInterpolation": "linear",
      "fillOpacity": 5,
      "showPoints": "never",
      "spanNulls": false,
      "stacking": {
       "mode": "none",
       "group": "A"
      }
     }
    },
    "overrides": []
   },
   "options": {
    "legend": {
     "showLegend": true,
     "displayMode": "list",
     "placement": "bottom",
     "calcs": []
    },
    "tooltip": {
     "mode": "multi",
     "sort": "desc"
    }
   },
   "targets": [
    {
     "refId": "A",
     "datasource": {
      "type": "prometheus",
      "uid": "${datasource}"
     },
     "expr": "sum by (topic) (engage_lag_records{job=~\"$job\"})",
     "legendFormat": "{{topic}}"
    }
   ]
  },
  {
   "id": 27,
   "type": "timeseries",
   "title": "Lag in time",
   "description": "How far decisions are behind what was produced.",
   "datasource": {
    "type": "prometheus",
    "uid": "${datasource}"
   },
   "gridPos": {
    "h": 8,
    "w": 8,
    "x": 16,
    "y": 5
   },
   "fieldConfig": {
    "defaults": {
     "unit": "s",
     "min": 0,
     "custom": {
      "drawStyle": "line",
      "lineInterpolation": "linear",
      "fillOpacity": 5,
      "showPoints": "never",
      "spanNulls": false,
      "stacking": {
       "mode": "none",
       "group": "A"
      }
     }
    },
    "overrides": []
   },
   "options": {
    "legend": {
     "showLegend": true,
     "displayMode": "list",
     "placement": "bottom",
     "calcs": []
    },
    "tooltip": {
     "mode": "multi",
     "sort": "desc"
    }
   },
   "targets": [
    {
     "refId": "A",
     "datasource": {
      "type": "prometheus",
      "uid": "${datasource}"
     },
     "expr": "max by (partition) (engage_lag_seconds{job=~\"$job\"})",
     "legendFormat": "partition {{partition}}"
    }
   ]
  },
  {
   "id": 9,
   "type": "timeseries",
   "title": "Re-routed and rejected",
   "description": "Rejected records are on the dead-letter topic. Re-routed: the producer put the record on another partition than its key's.",
   "datasource": {
    "type": "prometheus",
    "uid": "${datasource}"
   },
   "gridPos": {
    "h": 8,
    "w": 8,
    "x": 0,
    "y": 13
   },
   "fieldConfig": {
    "defaults": {
     "unit": "eps",
     "min": 0,
     "custom": {
      "drawStyle": "line",
      "lineInterpolation": "linear",
      "fillOpacity": 5,
      "showPoints": "never",
      "spanNulls": false,
      "stacking": {
       "mode": "none",
       "group": "A"
      }
     }
    },
    "overrides": []
   },
   "options": {
    "legend": {
     "showLegend": true,
     "displayMode": "list",
     "placement": "bottom",
     "calcs": []
    },
    "tooltip": {
     "mode": "multi",
     "sort": "desc"
    }
   },
   "targets": [
    {
     "refId": "A",
     "datasource": {
      "type": "prometheus",
      "uid": "${datasource}"
     },
     "expr": "sum by (topic, reason) (rate(engage_rejected_total{job=~\"$job\"}[$__rate_interval]))",
     "legendFormat": "rejected {{topic}}: {{reason}}"
    },
    {
     "refId": "B",
     "datasource": {
      "type": "prometheus",
      "uid": "${datasource}"
     },
     "expr": "sum by (topic) (rate(engage_rerouted_total{job=~\"$job\"}[$__rate_interval]))",
     "legendFormat": "re-routed {{topic}}"
    }
   ]
  },
  {
   "id": 32,
   "type": "timeseries",
   "title": "Did not count as sent",
   "description": "Duplicates did not count; late events counted in the windows of their own time; of unread fields only the field was left out.",
   "datasource": {
    "type": "prometheus",
    "uid": "${datasource}"
   },
   "gridPos": {
    "h": 8,
    "w": 8,
    "x": 8,
    "y": 13
   },
   "fieldConfig": {
    "defaults": {
     "unit": "eps",
     "min": 0,
     "custom": {
      "drawStyle": "line",
      "lineInterpolation": "linear",
      "fillOpacity": 5,
      "showPoints": "never",
      "spanNulls": false,
      "stacking": {
       "mode": "none",
       "group": "A"
      }
     }
    },
    "overrides": []
   },
   "options": {
    "legend": {
     "showLegend": true,
     "displayMode": "list",
     "placement": "bottom",
     "calcs": []
    },
    "tooltip": {
     "mode": "multi",
     "sort": "desc"
    }
   },
   "targets": [
    {
     "refId": "A",
     "datasource": {
      "type": "prometheus",
      "uid": "${datasource}"
     },
     "expr": "sum by (topic) (rate(engage_duplicates_total{job=~\"$job\"}[$__rate_interval])) > 0",
     "legendFormat": "duplicate {{topic}}"
    },
    {
     "refId": "B",
     "datasource": {
      "type": "prometheus",
      "uid": "${datasource}"
     },
     "expr": "sum by (topic) (rate(engage_late_events_total{job=~\"$job\"}[$__rate_interval])) > 0",
     "legendFormat": "late {{topic}}"
    },
    {
     "refId": "C",
     "datasource": {
      "type": "prometheus",
      "uid": "${datasource}"
     },
     "expr": "sum by (topic, field) (rate(engage_unread_fields_total{job=~\"$job\"}[$__rate_interval])) > 0",
     "legendFormat": "unread {{topic}}.{{field}}"
    }
   ]
  },
  {
   "id": 33,
   "type": "timeseries",
   "title": "Held behind open transactions",
   "description": "How long records have waited behind a transaction that another program began and has not ended.",
   "datasource": {
    "type": "prometheus",
    "uid": "${datasource}"
   },
   "gridPos": {
    "h": 8,
    "w": 8,
    "x": 16,
    "y": 13
   },
   "fieldConfig": {
    "defaults": {
     "unit": "s",
     "min": 0,
     "custom": {
      "drawStyle": "line",
      "lineInterpolation": "linear",
      "fillOpacity": 5,
      "showPoints": "never",
      "spanNulls": false,
      "stacking": {
       "mode": "none",
       "group": "A"
      }
     }
    },
    "overrides": []
   },
   "options": {
    "legend": {
     "showLegend": true,
     "displayMode": "list",
     "placement": "bottom",
     "calcs": []
    },
    "tooltip": {
     "mode": "multi",
     "sort": "desc"
    }
   },
   "targets": [
    {
     "refId": "A",
     "datasource": {
      "type": "prometheus",
      "uid": "${datasource}"
     },
     "expr": "max by (topic) (engage_held_seconds{job=~\"$job\"})",
     "legendFormat": "{{topic}}"
    }
   ]
  },
  {
   "id": 101,
   "type": "row",
   "title": "Actions out",
   "collapsed": false,
   "gridPos": {
    "h": 1,
    "w": 24,
    "x": 0,
    "y": 21
   },
   "panels": []
  },
  {
   "id": 10,
   "type": "timeseries",
   "title": "Actions sent, by rule",
   "description": "What was published, by rule. Choose rules at the top.",
   "datasource": {
    "type": "prometheus",
    "uid": "${datasource}"
   },
   "gridPos": {
    "h": 8,
    "w": 8,
    "x": 0,
    "y": 22
   },
   "fieldConfig": {
    "defaults": {
     "unit": "eps",
     "min": 0,
     "custom": {
      "drawStyle": "line",
      "lineInterpolation": "linear",
      "fillOpacity": 30,
      "showPoints": "never",
      "spanNulls": false,
      "stacking": {
       "mode": "normal",
       "group": "A"
      }
     },
     "links": [
      {
       "title": "Only this rule",
       "url": "/d/engage?${datasource:queryparam}&${job:queryparam}&var-rule=${__field.labels.rule}&${__url_time_range}",
       "targetBlank": false
      }
     ]
    },
    "overrides": []
   },
   "options": {
    "legend": {
     "showLegend": true,
     "displayMode": "list",
     "placement": "bottom",
     "calcs": []
    },
    "tooltip": {
     "mode": "multi",
     "sort": "desc"
    }
   },
   "targets": [
    {
     "refId": "A",
     "datasource": {
      "type": "prometheus",
      "uid": "${datasource}"
     },
     "expr": "sum by (rule) (rate(engage_decisions_total{job=~\"$job\",outcome=\"sent\",rule=~\"$rule\"}[$__rate_interval]))",
     "legendFormat": "{{rule}}"
    }
   ]
  },
  {
   "id": 11,
   "type": "timeseries",
   "title": "Actions not sent, by outcome",
   "description": "Rules that matched and were not sent, by the reason; docs/operations.md explains each.",
   "datasource": {
    "type": "prometheus",
    "uid": "${datasource}"
   },
   "gridPos": {
    "h": 8,
    "w": 8,
    "x": 8,
    "y": 22
   },
   "fieldConfig": {
    "defaults": {
     "unit": "eps",
     "min": 0,
     "custom": {
      "drawStyle": "line",
      "lineInterpolation": "linear",
      "fillOpacity": 30,
      "showPoints": "never",
      "spanNulls": false,
      "stacking": {
       "mode": "normal",
       "group": "A"
      }
     }
    },
    "overrides": []
   },
   "options": {
    "legend": {
     "showLegend": true,
     "displayMode": "list",
     "placement": "bottom",
     "calcs": []
    },
    "tooltip": {
     "mode": "multi",
     "sort": "desc"
    }
   },
   "targets": [
    {
     "refId": "A",
     "datasource": {
      "type": "prometheus",
      "uid": "${datasource}"
     },
     "expr": "sum by (outcome) (rate(engage_decisions_total{job=~\"$job\",outcome!=\"sent\",rule=~\"$rule\"}[$__rate_interval]))",
     "legendFormat": "{{outcome}}"
    }
   ]
  },
  {
   "id": 26,
   "type": "timeseries",
   "title": "From event to action",
   "description": "From the time of a record to the commit of an action that it led to.",
   "datasource": {
    "type": "prometheus",
    "uid": "${datasource}"
   },
   "gridPos": {
    "h": 8,
    "w": 8,
    "x": 16,
    "y": 22
   },
   "fieldConfig": {
    "defaults": {
     "unit": "s",
     "min": 0,
     "custom": {
      "drawStyle": "line",
      "lineInterpolation": "linear",
      "fillOpacity": 5,
      "showPoints": "never",
      "spanNulls": false,
      "stacking": {
       "mode": "none",
       "group": "A"
      }
     }
    },
    "overrides": []
   },
   "options": {
    "legend": {
     "showLegend": true,
     "displayMode": "list",
     "placement": "bottom",
     "calcs": []
    },
    "tooltip": {
     "mode": "multi",
     "sort": "desc"
    }
   },
   "targets": [
    {
     "refId": "A",
     "datasource": {
      "type": "prometheus",
      "uid": "${datasource}"
     },
     "expr": "histogram_quantile(0.5, sum by (le) (rate(engage_action_delay_seconds_bucket{job=~\"$job\"}[$__rate_interval])))",
     "legendFormat": "median"
    },
    {
     "refId": "B",
     "datasource": {
      "type": "prometheus",
      "uid": "${datasource}"
     },
     "expr": "histogram_quantile(0.99, sum by (le) (rate(engage_action_delay_seconds_bucket{job=~\"$job\"}[$__rate_interval])))",
     "legendFormat": "slowest percent"
    }
   ]
  },
  {
   "id": 34,
   "type": "timeseries",
   "title": "What became of actions",
   "description": "Receipts that came back: delivered, opened, clicked, failed, bounced, opted out.",
   "datasource": {
    "type": "prometheus",
    "uid": "${datasource}"
   },
   "gridPos": {
    "h": 8,
    "w": 8,
    "x": 0,
    "y": 30
   },
   "fieldConfig": {
    "defaults": {
     "unit": "eps",
     "min": 0,
     "custom": {
      "drawStyle": "line",
      "lineInterpolation": "linear",
      "fillOpacity": 5,
      "showPoints": "never",
      "spanNulls": false,
      "stacking": {
       "mode": "none",
       "group": "A"
      }
     }
    },
    "overrides": []
   },
   "options": {
    "legend": {
     "showLegend": true,
     "displayMode": "list",
     "placement": "bottom",
     "calcs": []
    },
    "tooltip": {
     "mode": "multi",
     "sort": "desc"
    }
   },
   "targets": [
    {
     "refId": "A",
     "datasource": {
      "type": "prometheus",
      "uid": "${datasource}"
     },
     "expr": "sum by (channel, status) (rate(engage_receipts_total{job=~\"$job\"}[$__rate_interval])) > 0",
     "legendFormat": "{{channel}} {{status}}"
    }
   ]
  },
  {
   "id": 35,
   "type": "timeseries",
   "title": "Corrections and retractions",
   "description": "Earlier events that were corrected, by what that could still change, and actions that were taken back for it.",
   "datasource": {
    "type": "prometheus",
    "uid": "${datasource}"
   },
   "gridPos": {
    "h": 8,
    "w": 8,
    "x": 8,
    "y": 30
   },
   "fieldConfig": {
    "defaults": {
     "unit": "eps",
     "min": 0,
     "custom": {
      "drawStyle": "line",
      "lineInterpolation": "linear",
      "fillOpacity": 5,
      "showPoints": "never",
      "spanNulls": false,
      "stacking": {
       "mode": "none",
       "group": "A"
      }
     }
    },
    "overrides": []
   },
   "options": {
    "legend": {
     "showLegend": true,
     "displayMode": "list",
     "placement": "bottom",
     "calcs": []
    },
    "tooltip": {
     "mode": "multi",
     "sort": "desc"
    }
   },
   "targets": [
    {
     "refId": "A",
     "datasource": {
      "type": "prometheus",
      "uid": "${datasource}"
     },
     "expr": "sum by (topic, result) (rate(engage_corrections_total{job=~\"$job\"}[$__rate_interval])) > 0",
     "legendFormat": "{{topic}}: {{result}}"
    },
    {
     "refId": "B",
     "datasource": {
      "type": "prometheus",
      "uid": "${datasource}"
     },
     "expr": "sum by (kind) (rate(engage_retractions_total{job=~\"$job\"}[$__rate_interval])) > 0",
     "legendFormat": "retracted {{kind}}"
    }
   ]
  },
  {
   "id": 36,
   "type": "timeseries",
   "title": "Rules that the breaker paused",
   "description": "A rule sent more than policy.yaml allows, and is paused for everybody until a person resumes it.",
   "datasource": {
    "type": "prometheus",
    "uid": "${datasource}"
   },
   "gridPos": {
    "h": 8,
    "w": 8,
    "x": 16,
    "y": 30
   },
   "fieldConfig": {
    "defaults": {
     "unit": "short",
     "min": 0,
     "custom": {
      "drawStyle": "line",
      "lineInterpolation": "linear",
      "fillOpacity": 5,
      "showPoints": "never",
      "spanNulls": false,
      "stacking": {
       "mode": "none",
       "group": "A"
      }
     }
    },
    "overrides": []
   },
   "options": {
    "legend": {
     "showLegend": true,
     "displayMode": "list",
     "placement": "bottom",
     "calcs": []
    },
    "tooltip": {
     "mode": "multi",
     "sort": "desc"
    }
   },
   "targets": [
    {
     "refId": "A",
     "datasource": {
      "type": "prometheus",
      "uid": "${datasource}"
     },
     "expr": "sum(increase(engage_breaker_pauses_total{job=~\"$job\"}[$__rate_interval]))",
     "legendFormat": "paused by the breaker"
    }
   ]
  },
  {
   "id": 102,
   "type": "row",
   "title": "Clients",
   "collapsed": false,
   "gridPos": {
    "h": 1,
    "w": 24,
    "x": 0,
    "y": 38
   },
   "panels": []
  },
  {
   "id": 13,
   "type": "timeseries",
   "title": "Clients by tier",
   "description": "Clients in each tier now.",
   "datasource": {
    "type": "prometheus",
    "uid": "${datasource}"
   },
   "gridPos": {
    "h": 8,
    "w": 8,
    "x": 0,
    "y": 39
   },
   "fieldConfig": {
    "defaults": {
     "unit": "short",
     "min": 0,
     "custom": {
      "drawStyle": "line",
      "lineInterpolation": "linear",
      "fillOpacity": 30,
      "showPoints": "never",
      "spanNulls": false,
      "stacking": {
       "mode": "normal",
       "group": "A"
      }
     }
    },
    "overrides": []
   },
   "options": {
    "legend": {
     "showLegend": true,
     "displayMode": "list",
     "placement": "bottom",
     "calcs": []
    },
    "tooltip": {
     "mode": "multi",
     "sort": "desc"
    }
   },
   "targets": [
    {
     "refId": "A",
     "datasource": {
      "type": "prometheus",
      "uid": "${datasource}"
     },
     "expr": "sum by (tier) (engage_tier_clients{job=~\"$job\"})",
     "legendFormat": "{{tier}}"
    }
   ]
  },
  {
   "id": 12,
   "type": "timeseries",
   "title": "Tier changes",
   "description": "Clients who came into another tier, and why.",
   "datasource": {
    "type": "prometheus",
    "uid": "${datasource}"
   },
   "gridPos": {
    "h": 8,
    "w": 8,
    "x": 8,
    "y": 39
   },
   "fieldConfig": {
    "defaults": {
     "unit": "short",
     "min": 0,
     "custom": {
      "drawStyle": "line",
      "lineInterpolation": "linear",
      "fillOpacity": 5,
      "showPoints": "never",
      "spanNulls": false,
      "stacking": {
       "mode": "none",
       "group": "A"
      }
     }
    },
    "overrides": []
   },
   "options": {
    "legend": {
     "showLegend": true,
     "displayMode": "list",
     "placement": "bottom",
     "calcs": []
    },
    "tooltip": {
     "mode": "multi",
     "sort": "desc"
    }
   },
   "targets": [
    {
     "refId": "A",
     "datasource": {
      "type": "prometheus",
      "uid": "${datasource}"
     },
     "expr": "sum by (from_tier, to_tier, reason) (increase(engage_tier_changes_total{job=~\"$job\"}[$__rate_interval]))",
     "legendFormat": "{{from_tier}} to {{to_tier}}: {{reason}}"
    }
   ]
  },
  {
   "id": 28,
   "type": "timeseries",
   "title": "Clients by stage of life",
   "description": "Clients in each stage of their life now, where rules declare stages.",
   "datasource": {
    "type": "prometheus",
    "uid": "${datasource}"
   },
   "gridPos": {
    "h": 8,
    "w": 8,
    "x": 16,
    "y": 39
   },
   "fieldConfig": {
    "defaults": {
     "unit": "short",
     "min": 0,
     "custom": {
      "drawStyle": "line",
      "lineInterpolation": "linear",
      "fillOpacity": 30,
      "showPoints": "never",
      "spanNulls": false,
      "stacking": {
       "mode": "normal",
       "group": "A"
      }
     }
    },
    "overrides": []
   },
   "options": {
    "legend": {
     "showLegend": true,
     "displayMode": "list",
     "placement": "bottom",
     "calcs": []
    },
    "tooltip": {
     "mode": "multi",
     "sort": "desc"
    }
   },
   "targets": [
    {
     "refId": "A",
     "datasource": {
      "type": "prometheus",
      "uid": "${datasource}"
     },
     "expr": "sum by (stage) (engage_stage_clients{job=~\"$job\"})",
     "legendFormat": "{{stage}}"
    }
   ]
  },
  {
   "id": 37,
   "type": "timeseries",
   "title": "Notices of a lower tier",
   "description": "Clients who belong to a lower tier and have heard of it: they move down after the grace.",
   "datasource": {
    "type": "prometheus",
    "uid": "${datasource}"
   },
   "gridPos": {
    "h": 8,
    "w": 8,
    "x": 0,
    "y": 47
   },
   "fieldConfig": {
    "defaults": {
     "unit": "short",
     "min": 0,
     "custom": {
      "drawStyle": "line",
      "lineInterpolation": "linear",
      "fillOpacity": 5,
      "showPoints": "never",
      "spanNulls": false,
      "stacking": {
       "mode": "none",
       "group": "A"
      }
     }
    },
    "overrides": []
   },
   "options": {
    "legend": {
     "showLegend": true,
     "displayMode": "list",
     "placement": "bottom",
     "calcs": []
    },
    "tooltip": {
     "mode": "multi",
     "sort": "desc"
    }
   },
   "targets": [
    {
     "refId": "A",
     "datasource": {
      "type": "prometheus",
      "uid": "${datasource}"
     },
     "expr": "sum by (tier, falls_to) (increase(engage_tier_notices_total{job=~\"$job\"}[$__rate_interval]))",
     "legendFormat": "{{tier}} to {{falls_to}}"
    }
   ]
  },
  {
   "id": 29,
   "type": "timeseries",
   "title": "Values that corrections left unknown",
   "description": "Clients of whom a feature is not known since an event was corrected. engage backfill fills it.",
   "datasource": {
    "type": "prometheus",
    "uid": "${datasource}"
   },
   "gridPos": {
    "h": 8,
    "w": 8,
    "x": 8,
    "y": 47
   },
   "fieldConfig": {
    "defaults": {
     "unit": "short",
     "min": 0,
     "custom": {
      "drawStyle": "line",
      "lineInterpolation": "linear",
      "fillOpacity": 30,
      "showPoints": "never",
      "spanNulls": false,
      "stacking": {
       "mode": "normal",
       "group": "A"
      }
     }
    },
    "overrides": []
   },
   "options": {
    "legend": {
     "showLegend": true,
     "displayMode": "list",
     "placement": "bottom",
     "calcs": []
    },
    "tooltip": {
     "mode": "multi",
     "sort": "desc"
    }
   },
   "targets": [
    {
     "refId": "A",
     "datasource": {
      "type": "prometheus",
      "uid": "${datasource}"
     },
     "expr": "sum by (feature) (engage_unknown_values{job=~\"$job\"})",
     "legendFormat": "{{feature}}"
    }
   ]
  },
  {
   "id": 38,
   "type": "timeseries",
   "title": "Evaluated under new rules",
   "description": "A sweep evaluates every client once, where rules that need no event, tiers or segments are new.",
   "datasource": {
    "type": "prometheus",
    "uid": "${datasource}"
   },
   "gridPos": {
    "h": 8,
    "w": 8,
    "x": 16,
    "y": 47
   },
   "fieldConfig": {
    "defaults": {
     "unit": "ops",
     "min": 0,
     "custom": {
      "drawStyle": "line",
      "lineInterpolation": "linear",
      "fillOpacity": 30,
      "showPoints": "never",
      "spanNulls": false,
      "stacking": {
       "mode": "normal",
       "group": "A"
      }
     }
    },
    "overrides": []
   },
   "options": {
    "legend": {
     "showLegend": true,
     "displayMode": "list",
     "placement": "bottom",
     "calcs": []
    },
    "tooltip": {
     "mode": "multi",
     "sort": "desc"
    }
   },
   "targets": [
    {
     "refId": "A",
     "datasource": {
      "type": "prometheus",
      "uid": "${datasource}"
     },
     "expr": "sum by (result) (rate(engage_swept_clients_total{job=~\"$job\"}[$__rate_interval]))",
     "legendFormat": "{{result}}"
    }
   ]
  },
  {
   "id": 103,
   "type": "row",
   "title": "Rules",
   "collapsed": false,
   "gridPos": {
    "h": 1,
    "w": 24,
    "x": 0,
    "y": 55
   },
   "panels": []
  },
  {
   "id": 25,
   "type": "timeseries",
   "title": "Dearest rules",
   "description": "What a rule's test adds to an event in the mean, from one event in 1,000.",
   "datasource": {
    "type": "prometheus",
    "uid": "${datasource}"
   },
   "gridPos": {
    "h": 8,
    "w": 8,
    "x": 0,
    "y": 56
   },
   "fieldConfig": {
    "defaults": {
     "unit": "s",
     "min": 0,
     "custom": {
      "drawStyle": "line",
      "lineInterpolation": "linear",
      "fillOpacity": 5,
      "showPoints": "never",
      "spanNulls": false,
      "stacking": {
       "mode": "none",
       "group": "A"
      }
     },
     "links": [
      {
       "title": "Only this rule",
       "url": "/d/engage?${datasource:queryparam}&${job:queryparam}&var-rule=${__field.labels.rule}&${__url_time_range}",
       "targetBlank": false
      }
     ]
    },
    "overrides": []
   },
   "options": {
    "legend": {
     "showLegend": true,
     "displayMode": "list",
     "placement": "bottom",
     "calcs": []
    },
    "tooltip": {
     "mode": "multi",
     "sort": "desc"
    }
   },
   "targets": [
    {
     "refId": "A",
     "datasource": {
      "type": "prometheus",
      "uid": "${datasource}"
     },
     "expr": "topk(10, sum by (rule) (rate(engage_rule_sampled_seconds_total{job=~\"$job\"}[$__rate_interval])) / on () group_left sum(rate(engage_rule_sampled_events_total{job=~\"$job\"}[$__rate_interval])))",
     "legendFormat": "{{rule}}"
    }
   ]
  },
  {
   "id": 21,
   "type": "timeseries",
   "title": "Rule sets refused",
   "description": "Not 0: a published set was refused, and the one before it stays active.",
   "datasource": {
    "type": "prometheus",
    "uid": "${datasource}"
   },
   "gridPos": {
    "h": 8,
    "w": 8,
    "x": 8,
    "y": 56
   },
   "fieldConfig": {
    "defaults": {
     "unit": "short",
     "min": 0,
     "custom": {
      "drawStyle": "line",
      "lineInterpolation": "linear",
      "fillOpacity": 5,
      "showPoints": "never",
      "spanNulls": false,
      "stacking": {
       "mode": "none",
       "group": "A"
      }
     }
    },
    "overrides": []
   },
   "options": {
    "legend": {
     "showLegend": true,
     "displayMode": "list",
     "placement": "bottom",
     "calcs": []
    },
    "tooltip": {
     "mode": "multi",
     "sort": "desc"
    }
   },
   "targets": [
    {
     "refId": "A",
     "datasource": {
      "type": "prometheus",
      "uid": "${datasource}"
     },
     "expr": "sum by (instance) (increase(engage_rule_set_refused_total{job=~\"$job\"}[$__rate_interval]))",
     "legendFormat": "{{instance}}"
    },
    {
     "refId": "B",
     "datasource": {
      "type": "prometheus",
      "uid": "${datasource}"
     },
     "expr": "max by (instance) (engage_rule_set_stale{job=~\"$job\"})",
     "legendFormat": "stale {{instance}}"
    }
   ]
  },
  {
   "id": 39,
   "type": "timeseries",
   "title": "Days that lists still cover",
   "description": "Lists of days, and calendar.yaml: what asks for a later day is not sent (day_unknown).",
   "datasource": {
    "type": "prometheus",
    "uid": "${datasource}"
   },
   "gridPos": {
    "h": 8,
    "w": 8,
    "x": 16,
    "y": 56
   },
   "fieldConfig": {
    "defaults": {
     "unit": "d",
     "min": 0,
     "custom": {
      "drawStyle": "line",
      "lineInterpolation": "linear",
      "fillOpacity": 5,
      "showPoints": "never",
      "spanNulls": false,
      "stacking": {
       "mode": "none",
       "group": "A"
      }
     }
    },
    "overrides": []
   },
   "options": {
    "legend": {
     "showLegend": true,
     "displayMode": "list",
     "placement": "bottom",
     "calcs": []
    },
    "tooltip": {
     "mode": "multi",
     "sort": "desc"
    }
   },
   "targets": [
    {
     "refId": "A",
     "datasource": {
      "type": "prometheus",
      "uid": "${datasource}"
     },
     "expr": "min by (list) (engage_list_days_left{job=~\"$job\"})",
     "legendFormat": "{{list}}"
    }
   ]
  },
  {
   "id": 104,
   "type": "row",
   "title": "Workers",
   "collapsed": false,
   "gridPos": {
    "h": 1,
    "w": 24,
    "x": 0,
    "y": 64
   },
   "panels": []
  },
  {
   "id": 14,
   "type": "timeseries",
   "title": "Decide, one batch",
   "description": "Time to decide one batch: median and slowest percent.",
   "datasource": {
    "type": "prometheus",
    "uid": "${datasource}"
   },
   "gridPos": {
    "h": 8,
    "w": 8,
    "x": 0,
    "y": 65
   },
   "fieldConfig": {
    "defaults": {
     "unit": "s",
     "min": 0,
     "custom": {
      "drawStyle": "line",
      "lineInterpolation": "linear",
      "fillOpacity": 5,
      "showPoints": "never",
      "spanNulls": false,
      "stacking": {
       "mode": "none",
       "group": "A"
      }
     }
    },
    "overrides": []
   },
   "options": {
    "legend": {
     "showLegend": true,
     "displayMode": "list",
     "placement": "bottom",
     "calcs": []
    },
    "tooltip": {
     "mode": "multi",
     "sort": "desc"
    }
   },
   "targets": [
    {
     "refId": "A",
     "datasource": {
      "type": "prometheus",
      "uid": "${datasource}"
     },
     "expr": "histogram_quantile(0.5, sum by (le) (rate(engage_decide_seconds_bucket{job=~\"$job\"}[$__rate_interval])))",
     "legendFormat": "p50"
    },
    {
     "refId": "B",
     "datasource": {
      "type": "prometheus",
      "uid": "${datasource}"
     },
     "expr": "histogram_quantile(0.99, sum by (le) (rate(engage_decide_seconds_bucket{job=~\"$job\"}[$__rate_interval])))",
     "legendFormat": "p99"
    }
   ]
  },
  {
   "id": 15,
   "type": "timeseries",
   "title": "Commit, by step",
   "description": "publish: Kafka's transaction; apply: Redis' script.",
   "datasource": {
    "type": "prometheus",
    "uid": "${datasource}"
   },
   "gridPos": {
    "h": 8,
    "w": 8,
    "x": 8,
    "y": 65
   },
   "fieldConfig": {
    "defaults": {
     "unit": "s",
     "min": 0,
     "custom": {
      "drawStyle": "line",
      "lineInterpolation": "linear",
      "fillOpacity": 5,
      "showPoints": "never",
      "spanNulls": false,
      "stacking": {
       "mode": "none",
       "group": "A"
      }
     }
    },
    "overrides": []
   },
   "options": {
    "legend": {
     "showLegend": true,
     "displayMode": "list",
     "placement": "bottom",
     "calcs": []
    },
    "tooltip": {
     "mode": "multi",
     "sort": "desc"
    }
   },
   "targets": [
    {
     "refId": "A",
     "datasource": {
      "type": "prometheus",
      "uid": "${datasource}"
     },
     "expr": "histogram_quantile(0.5, sum by (le, step) (rate(engage_commit_seconds_bucket{job=~\"$job\"}[$__rate_interval])))",
     "legendFormat": "p50 {{step}}"
    },
    {
     "refId": "B",
     "datasource": {
      "type": "prometheus",
      "uid": "${datasource}"
     },
     "expr": "histogram_quantile(0.99, sum by (le, step) (rate(engage_commit_seconds_bucket{job=~\"$job\"}[$__rate_interval])))",
     "legendFormat": "p99 {{step}}"
    }
   ]
  },
  {
   "id": 16,
   "type": "timeseries",
   "title": "Units committed",
   "description": "By what closed the unit.",
   "datasource": {
    "type": "prometheus",
    "uid": "${datasource}"
   },
   "gridPos": {
    "h": 8,
    "w": 8,
    "x": 16,
    "y": 65
   },
   "fieldConfig": {
    "defaults": {
     "unit": "ops",
     "min": 0,
     "custom": {
      "drawStyle": "line",
      "lineInterpolation": "linear",
      "fillOpacity": 30,
      "showPoints": "never",
      "spanNulls": false,
      "stacking": {
       "mode": "normal",
       "group": "A"
      }
     }
    },
    "overrides": []
   },
   "options": {
    "legend": {
     "showLegend": true,
     "displayMode": "list",
     "placement": "bottom",
     "calcs": []
    },
    "tooltip": {
     "mode": "multi",
     "sort": "desc"
    }
   },
   "targets": [
    {
     "refId": "A",
     "datasource": {
      "type": "prometheus",
      "uid": "${datasource}"
     },
     "expr": "sum by (cause) (rate(engage_units_total{job=~\"$job\"}[$__rate_interval]))",
     "legendFormat": "{{cause}}"
    }
   ]
  },
  {
   "id": 17,
   "type": "timeseries",
   "title": "Records in a unit",
   "description": "Large while workers are behind, small once they have caught up.",
   "datasource": {
    "type": "prometheus",
    "uid": "${datasource}"
   },
   "gridPos": {
    "h": 8,
    "w": 8,
    "x": 0,
    "y": 73
   },
   "fieldConfig": {
    "defaults": {
     "unit": "short",
     "min": 0,
     "custom": {
      "drawStyle": "line",
      "lineInterpolation": "linear",
      "fillOpacity": 5,
      "showPoints": "never",
      "spanNulls": false,
      "stacking": {
       "mode": "none",
       "group": "A"
      }
     }
    },
    "overrides": []
   },
   "options": {
    "legend": {
     "showLegend": true,
     "displayMode": "list",
     "placement": "bottom",
     "calcs": []
    },
    "tooltip": {
     "mode": "multi",
     "sort": "desc"
    }
   },
   "targets": [
    {
     "refId": "A",
     "datasource": {
      "type": "prometheus",
      "uid": "${datasource}"
     },
     "expr": "histogram_quantile(0.5, sum by (le) (rate(engage_unit_records_bucket{job=~\"$job\"}[$__rate_interval])))",
     "legendFormat": "p50"
    },
    {
     "refId": "B",
     "datasource": {
      "type": "prometheus",
      "uid": "${datasource}"
     },
     "expr": "histogram_quantile(0.99, sum by (le) (rate(engage_unit_records_bucket{job=~\"$job\"}[$__rate_interval])))",
     "legendFormat": "p99"
    }
   ]
  },
  {
   "id": 18,
   "type": "timeseries",
   "title": "Recoveries",
   "description": "Starts of a partition by cause; after a restart or rebalance some are normal.",
   "datasource": {
    "type": "prometheus",
    "uid": "${datasource}"
   },
   "gridPos": {
    "h": 8,
    "w": 8,
    "x": 8,
    "y": 73
   },
   "fieldConfig": {
    "defaults": {
     "unit": "short",
     "min": 0,
     "custom": {
      "drawStyle": "line",
      "lineInterpolation": "linear",
      "fillOpacity": 5,
      "showPoints": "never",
      "spanNulls": false,
      "stacking": {
       "mode": "none",
       "group": "A"
      }
     }
    },
    "overrides": []
   },
   "options": {
    "legend": {
     "showLegend": true,
     "displayMode": "list",
     "placement": "bottom",
     "calcs": []
    },
    "tooltip": {
     "mode": "multi",
     "sort": "desc"
    }
   },
   "targets": [
    {
     "refId": "A",
     "datasource": {
      "type": "prometheus",
      "uid": "${datasource}"
     },
     "expr": "sum by (cause) (increase(engage_recoveries_total{job=~\"$job\"}[$__rate_interval]))",
     "legendFormat": "{{cause}}"
    },
    {
     "refId": "B",
     "datasource": {
      "type": "prometheus",
      "uid": "${datasource}"
     },
     "expr": "sum(increase(engage_recovered_units_total{job=~\"$job\"}[$__rate_interval]))",
     "legendFormat": "units applied again"
    }
   ]
  },
  {
   "id": 19,
   "type": "timeseries",
   "title": "Partitions by state",
   "description": "All should be running.",
   "datasource": {
    "type": "prometheus",
    "uid": "${datasource}"
   },
   "gridPos": {
    "h": 8,
    "w": 8,
    "x": 16,
    "y": 73
   },
   "fieldConfig": {
    "defaults": {
     "unit": "short",
     "min": 0,
     "custom": {
      "drawStyle": "line",
      "lineInterpolation": "linear",
      "fillOpacity": 30,
      "showPoints": "never",
      "spanNulls": false,
      "stacking": {
       "mode": "normal",
       "group": "A"
      }
     }
    },
    "overrides": []
   },
   "options": {
    "legend": {
     "showLegend": true,
     "displayMode": "list",
     "placement": "bottom",
     "calcs": []
    },
    "tooltip": {
     "mode": "multi",
     "sort": "desc"
    }
   },
   "targets": [
    {
     "refId": "A",
     "datasource": {
      "type": "prometheus",
      "uid": "${datasource}"
     },
     "expr": "sum by (state) (engage_partition_state{job=~\"$job\"})",
     "legendFormat": "{{state}}"
    }
   ]
  },
  {
   "id": 20,
   "type": "timeseries",
   "title": "Ledger records and ticks",
   "description": "Ledger records are what is kept of units; ticks woke clients to whom time alone brings something.",
   "datasource": {
    "type": "prometheus",
    "uid": "${datasource}"
   },
   "gridPos": {
    "h": 8,
    "w": 8,
    "x": 0,
    "y": 81
   },
   "fieldConfig": {
    "defaults": {
     "unit": "ops",
     "min": 0,
     "custom": {
      "drawStyle": "line",
      "lineInterpolation": "linear",
      "fillOpacity": 5,
      "showPoints": "never",
      "spanNulls": false,
      "stacking": {
       "mode": "none",
       "group": "A"
      }
     }
    },
    "overrides": []
   },
   "options": {
    "legend": {
     "showLegend": true,
     "displayMode": "list",
     "placement": "bottom",
     "calcs": []
    },
    "tooltip": {
     "mode": "multi",
     "sort": "desc"
    }
   },
   "targets": [
    {
     "refId": "A",
     "datasource": {
      "type": "prometheus",
      "uid": "${datasource}"
     },
     "expr": "sum(rate(engage_ledger_records_total{job=~\"$job\"}[$__rate_interval]))",
     "legendFormat": "ledger records"
    },
    {
     "refId": "B",
     "datasource": {
      "type": "prometheus",
      "uid": "${datasource}"
     },
     "expr": "sum(rate(engage_ticks_total{job=~\"$job\"}[$__rate_interval]))",
     "legendFormat": "ticks"
    }
   ]
  },
  {
   "id": 22,
   "type": "timeseries",
   "title": "CPU by worker",
   "description": "1 is one core.",
   "datasource": {
    "type": "prometheus",
    "uid": "${datasource}"
   },
   "gridPos": {
    "h": 8,
    "w": 8,
    "x": 8,
    "y": 81
   },
   "fieldConfig": {
    "defaults": {
     "unit": "percentunit",
     "min": 0,
     "custom": {
      "drawStyle": "line",
      "lineInterpolation": "linear",
      "fillOpacity": 5,
      "showPoints": "never",
      "spanNulls": false,
      "stacking": {
       "mode": "none",
       "group": "A"
      }
     }
    },
    "overrides": []
   },
   "options": {
    "legend": {
     "showLegend": true,
     "displayMode": "list",
     "placement": "bottom",
     "calcs": []
    },
    "tooltip": {
     "mode": "multi",
     "sort": "desc"
    }
   },
   "targets": [
    {
     "refId": "A",
     "datasource": {
      "type": "prometheus",
      "uid": "${datasource}"
     },
     "expr": "rate(process_cpu_seconds_total{job=~\"$job\"}[$__rate_interval])",
     "legendFormat": "{{instance}}"
    }
   ]
  },
  {
   "id": 23,
   "type": "timeseries",
   "title": "Memory by worker",
   "description": "Resident memory; bounded by cache_mb and what is in flight.",
   "datasource": {
    "type": "prometheus",
    "uid": "${datasource}"
   },
   "gridPos": {
    "h": 8,
    "w": 8,
    "x": 16,
    "y": 81
   },
   "fieldConfig": {
    "defaults": {
     "unit": "bytes",
     "min": 0,
     "custom": {
      "drawStyle": "line",
      "lineInterpolation": "linear",
      "fillOpacity": 5,
      "showPoints": "never",
      "spanNulls": false,
      "stacking": {
       "mode": "none",
       "group": "A"
      }
     }
    },
    "overrides": []
   },
   "options": {
    "legend": {
     "showLegend": true,
     "displayMode": "list",
     "placement": "bottom",
     "calcs": []
    },
    "tooltip": {
     "mode": "multi",
     "sort": "desc"
    }
   },
   "targets": [
    {
     "refId": "A",
     "datasource": {
      "type": "prometheus",
      "uid": "${datasource}"
     },
     "expr": "process_resident_memory_bytes{job=~\"$job\"}",
     "legendFormat": "{{instance}}"
    }
   ]
  },
  {
   "id": 24,
   "type": "timeseries",
   "title": "States in the cache",
   "description": "Client states that workers hold in memory.",
   "datasource": {
    "type": "prometheus",
    "uid": "${datasource}"
   },
   "gridPos": {
    "h": 8,
    "w": 8,
    "x": 0,
    "y": 89
   },
   "fieldConfig": {
    "defaults": {
     "unit": "short",
     "min": 0,
     "custom": {
      "drawStyle": "line",
      "lineInterpolation": "linear",
      "fillOpacity": 5,
      "showPoints": "never",
      "spanNulls": false,
      "stacking": {
       "mode": "none",
       "group": "A"
      }
     }
    },
    "overrides": []
   },
   "options": {
    "legend": {
     "showLegend": true,
     "displayMode": "list",
     "placement": "bottom",
     "calcs": []
    },
    "tooltip": {
     "mode": "multi",
     "sort": "desc"
    }
   },
   "targets": [
    {
     "refId": "A",
     "datasource": {
      "type": "prometheus",
      "uid": "${datasource}"
     },
     "expr": "sum by (instance) (engage_cache_clients{job=~\"$job\"})",
     "legendFormat": "{{instance}}"
    }
   ]
  },
  {
   "id": 40,
   "type": "timeseries",
   "title": "Redis memory",
   "description": "Of the Redis server with the least room: in use, and its limit. Redis must not evict (noeviction): when it is full, workers wait.",
   "datasource": {
    "type": "prometheus",
    "uid": "${datasource}"
   },
   "gridPos": {
    "h": 8,
    "w": 8,
    "x": 8,
    "y": 89
   },
   "fieldConfig": {
    "defaults": {
     "unit": "bytes",
     "min": 0,
     "custom": {
      "drawStyle": "line",
      "lineInterpolation": "linear",
      "fillOpacity": 5,
      "showPoints": "never",
      "spanNulls": false,
      "stacking": {
       "mode": "none",
       "group": "A"
      }
     }
    },
    "overrides": []
   },
   "options": {
    "legend": {
     "showLegend": true,
     "displayMode": "list",
     "placement": "bottom",
     "calcs": []
    },
    "tooltip": {
     "mode": "multi",
     "sort": "desc"
    }
   },
   "targets": [
    {
     "refId": "A",
     "datasource": {
      "type": "prometheus",
      "uid": "${datasource}"
     },
     "expr": "max(engage_redis_used_bytes{job=~\"$job\"})",
     "legendFormat": "in use"
    },
    {
     "refId": "B",
     "datasource": {
      "type": "prometheus",
      "uid": "${datasource}"
     },
     "expr": "max(engage_redis_limit_bytes{job=~\"$job\"})",
     "legendFormat": "limit"
    }
   ]
  },
  {
   "id": 41,
   "type": "timeseries",
   "title": "Ledger",
   "description": "What the ledger grows by, before Kafka's compression. engage snapshot and engage trim make it shorter.",
   "datasource": {
    "type": "prometheus",
    "uid": "${datasource}"
   },
   "gridPos": {
    "h": 8,
    "w": 8,
    "x": 16,
    "y": 89
   },
   "fieldConfig": {
    "defaults": {
     "unit": "Bps",
     "min": 0,
     "custom": {
      "drawStyle": "line",
      "lineInterpolation": "linear",
      "fillOpacity": 5,
      "showPoints": "never",
      "spanNulls": false,
      "stacking": {
       "mode": "none",
       "group": "A"
      }
     }
    },
    "overrides": []
   },
   "options": {
    "legend": {
     "showLegend": true,
     "displayMode": "list",
     "placement": "bottom",
     "calcs": []
    },
    "tooltip": {
     "mode": "multi",
     "sort": "desc"
    }
   },
   "targets": [
    {
     "refId": "A",
     "datasource": {
      "type": "prometheus",
      "uid": "${datasource}"
     },
     "expr": "sum(rate(engage_ledger_bytes_total{job=~\"$job\"}[$__rate_interval]))",
     "legendFormat": "bytes a second"
    }
   ]
  }
 ]
};
export const options1: Json<Partial<stat.Options>> = {"reduceOptions": {"calcs": ["lastNotNull"], "values": false, "fields": ""}, "colorMode": "value", "graphMode": "none", "justifyMode": "auto", "textMode": "auto", "orientation": "auto"};
export const options2: Json<Partial<stat.Options>> = {"reduceOptions": {"calcs": ["lastNotNull"], "values": false, "fields": ""}, "colorMode": "value", "graphMode": "none", "justifyMode": "auto", "textMode": "auto", "orientation": "auto"};
export const options3: Json<Partial<stat.Options>> = {"reduceOptions": {"calcs": ["lastNotNull"], "values": false, "fields": ""}, "colorMode": "value", "graphMode": "none", "justifyMode": "auto", "textMode": "auto", "orientation": "auto"};
export const options4: Json<Partial<stat.Options>> = {"reduceOptions": {"calcs": ["lastNotNull"], "values": false, "fields": ""}, "colorMode": "value", "graphMode": "none", "justifyMode": "auto", "textMode": "auto", "orientation": "auto"};
export const options5: Json<Partial<stat.Options>> = {"reduceOptions": {"calcs": ["lastNotNull"], "values": false, "fields": ""}, "colorMode": "value", "graphMode": "none", "justifyMode": "auto", "textMode": "auto", "orientation": "auto"};
export const options6: Json<Partial<stat.Options>> = {"reduceOptions": {"calcs": ["lastNotNull"], "values": false, "fields": ""}, "colorMode": "value", "graphMode": "none", "justifyMode": "auto", "textMode": "value_and_name", "orientation": "auto"};
export const options30: Json<Partial<stat.Options>> = {"reduceOptions": {"calcs": ["lastNotNull"], "values": false, "fields": ""}, "colorMode": "value", "graphMode": "none", "justifyMode": "auto", "textMode": "auto", "orientation": "auto"};
export const options31: Json<Partial<stat.Options>> = {"reduceOptions": {"calcs": ["lastNotNull"], "values": false, "fields": ""}, "colorMode": "value", "graphMode": "none", "justifyMode": "auto", "textMode": "auto", "orientation": "auto"};
export const options100: Json<Partial<row.Options>> = {};
export const options7: Json<Partial<timeseries.Options>> = {"legend": {"showLegend": true, "displayMode": "list", "placement": "bottom", "calcs": []}, "tooltip": {"mode": "multi", "sort": "desc"}};
export const field7: Json<timeseries.FieldConfig> = {"drawStyle": "line", "lineInterpolation": "linear", "fillOpacity": 30, "showPoints": "never", "spanNulls": false, "stacking": {"mode": "normal", "group": "A"}};
export const options8: Json<Partial<timeseries.Options>> = {"legend": {"showLegend": true, "displayMode": "list", "placement": "bottom", "calcs": []}, "tooltip": {"mode": "multi", "sort": "desc"}};
export const field8: Json<timeseries.FieldConfig> = {"drawStyle": "line", "lineInterpolation": "linear", "fillOpacity": 5, "showPoints": "never", "spanNulls": false, "stacking": {"mode": "none", "group": "A"}};
export const options27: Json<Partial<timeseries.Options>> = {"legend": {"showLegend": true, "displayMode": "list", "placement": "bottom", "calcs": []}, "tooltip": {"mode": "multi", "sort": "desc"}};
export const field27: Json<timeseries.FieldConfig> = {"drawStyle": "line", "lineInterpolation": "linear", "fillOpacity": 5, "showPoints": "never", "spanNulls": false, "stacking": {"mode": "none", "group": "A"}};
export const options9: Json<Partial<timeseries.Options>> = {"legend": {"showLegend": true, "displayMode": "list", "placement": "bottom", "calcs": []}, "tooltip": {"mode": "multi", "sort": "desc"}};
export const field9: Json<timeseries.FieldConfig> = {"drawStyle": "line", "lineInterpolation": "linear", "fillOpacity": 5, "showPoints": "never", "spanNulls": false, "stacking": {"mode": "none", "group": "A"}};
export const options32: Json<Partial<timeseries.Options>> = {"legend": {"showLegend": true, "displayMode": "list", "placement": "bottom", "calcs": []}, "tooltip": {"mode": "multi", "sort": "desc"}};
export const field32: Json<timeseries.FieldConfig> = {"drawStyle": "line", "lineInterpolation": "linear", "fillOpacity": 5, "showPoints": "never", "spanNulls": false, "stacking": {"mode": "none", "group": "A"}};
export const options33: Json<Partial<timeseries.Options>> = {"legend": {"showLegend": true, "displayMode": "list", "placement": "bottom", "calcs": []}, "tooltip": {"mode": "multi", "sort": "desc"}};
export const field33: Json<timeseries.FieldConfig> = {"drawStyle": "line", "lineInterpolation": "linear", "fillOpacity": 5, "showPoints": "never", "spanNulls": false, "stacking": {"mode": "none", "group": "A"}};
export const options101: Json<Partial<row.Options>> = {};
export const options10: Json<Partial<timeseries.Options>> = {"legend": {"showLegend": true, "displayMode": "list", "placement": "bottom", "calcs": []}, "tooltip": {"mode": "multi", "sort": "desc"}};
export const field10: Json<timeseries.FieldConfig> = {"drawStyle": "line", "lineInterpolation": "linear", "fillOpacity": 30, "showPoints": "never", "spanNulls": false, "stacking": {"mode": "normal", "group": "A"}};
export const options11: Json<Partial<timeseries.Options>> = {"legend": {"showLegend": true, "displayMode": "list", "placement": "bottom", "calcs": []}, "tooltip": {"mode": "multi", "sort": "desc"}};
export const field11: Json<timeseries.FieldConfig> = {"drawStyle": "line", "lineInterpolation": "linear", "fillOpacity": 30, "showPoints": "never", "spanNulls": false, "stacking": {"mode": "normal", "group": "A"}};
export const options26: Json<Partial<timeseries.Options>> = {"legend": {"showLegend": true, "displayMode": "list", "placement": "bottom", "calcs": []}, "tooltip": {"mode": "multi", "sort": "desc"}};
export const field26: Json<timeseries.FieldConfig> = {"drawStyle": "line", "lineInterpolation": "linear", "fillOpacity": 5, "showPoints": "never", "spanNulls": false, "stacking": {"mode": "none", "group": "A"}};
export const options34: Json<Partial<timeseries.Options>> = {"legend": {"showLegend": true, "displayMode": "list", "placement": "bottom", "calcs": []}, "tooltip": {"mode": "multi", "sort": "desc"}};
export const field34: Json<timeseries.FieldConfig> = {"drawStyle": "line", "lineInterpolation": "linear", "fillOpacity": 5, "showPoints": "never", "spanNulls": false, "stacking": {"mode": "none", "group": "A"}};
export const options35: Json<Partial<timeseries.Options>> = {"legend": {"showLegend": true, "displayMode": "list", "placement": "bottom", "calcs": []}, "tooltip": {"mode": "multi", "sort": "desc"}};
export const field35: Json<timeseries.FieldConfig> = {"drawStyle": "line", "lineInterpolation": "linear", "fillOpacity": 5, "showPoints": "never", "spanNulls": false, "stacking": {"mode": "none", "group": "A"}};
export const options36: Json<Partial<timeseries.Options>> = {"legend": {"showLegend": true, "displayMode": "list", "placement": "bottom", "calcs": []}, "tooltip": {"mode": "multi", "sort": "desc"}};
export const field36: Json<timeseries.FieldConfig> = {"drawStyle": "line", "lineInterpolation": "linear", "fillOpacity": 5, "showPoints": "never", "spanNulls": false, "stacking": {"mode": "none", "group": "A"}};
export const options102: Json<Partial<row.Options>> = {};
export const options13: Json<Partial<timeseries.Options>> = {"legend": {"showLegend": true, "displayMode": "list", "placement": "bottom", "calcs": []}, "tooltip": {"mode": "multi", "sort": "desc"}};
export const field13: Json<timeseries.FieldConfig> = {"drawStyle": "line", "lineInterpolation": "linear", "fillOpacity": 30, "showPoints": "never", "spanNulls": false, "stacking": {"mode": "normal", "group": "A"}};
export const options12: Json<Partial<timeseries.Options>> = {"legend": {"showLegend": true, "displayMode": "list", "placement": "bottom", "calcs": []}, "tooltip": {"mode": "multi", "sort": "desc"}};
export const field12: Json<timeseries.FieldConfig> = {"drawStyle": "line", "lineInterpolation": "linear", "fillOpacity": 5, "showPoints": "never", "spanNulls": false, "stacking": {"mode": "none", "group": "A"}};
export const options28: Json<Partial<timeseries.Options>> = {"legend": {"showLegend": true, "displayMode": "list", "placement": "bottom", "calcs": []}, "tooltip": {"mode": "multi", "sort": "desc"}};
export const field28: Json<timeseries.FieldConfig> = {"drawStyle": "line", "lineInterpolation": "linear", "fillOpacity": 30, "showPoints": "never", "spanNulls": false, "stacking": {"mode": "normal", "group": "A"}};
export const options37: Json<Partial<timeseries.Options>> = {"legend": {"showLegend": true, "displayMode": "list", "placement": "bottom", "calcs": []}, "tooltip": {"mode": "multi", "sort": "desc"}};
export const field37: Json<timeseries.FieldConfig> = {"drawStyle": "line", "lineInterpolation": "linear", "fillOpacity": 5, "showPoints": "never", "spanNulls": false, "stacking": {"mode": "none", "group": "A"}};
export const options29: Json<Partial<timeseries.Options>> = {"legend": {"showLegend": true, "displayMode": "list", "placement": "bottom", "calcs": []}, "tooltip": {"mode": "multi", "sort": "desc"}};
export const field29: Json<timeseries.FieldConfig> = {"drawStyle": "line", "lineInterpolation": "linear", "fillOpacity": 30, "showPoints": "never", "spanNulls": false, "stacking": {"mode": "normal", "group": "A"}};
export const options38: Json<Partial<timeseries.Options>> = {"legend": {"showLegend": true, "displayMode": "list", "placement": "bottom", "calcs": []}, "tooltip": {"mode": "multi", "sort": "desc"}};
export const field38: Json<timeseries.FieldConfig> = {"drawStyle": "line", "lineInterpolation": "linear", "fillOpacity": 30, "showPoints": "never", "spanNulls": false, "stacking": {"mode": "normal", "group": "A"}};
export const options103: Json<Partial<row.Options>> = {};
export const options25: Json<Partial<timeseries.Options>> = {"legend": {"showLegend": true, "displayMode": "list", "placement": "bottom", "calcs": []}, "tooltip": {"mode": "multi", "sort": "desc"}};
export const field25: Json<timeseries.FieldConfig> = {"drawStyle": "line", "lineInterpolation": "linear", "fillOpacity": 5, "showPoints": "never", "spanNulls": false, "stacking": {"mode": "none", "group": "A"}};
export const options21: Json<Partial<timeseries.Options>> = {"legend": {"showLegend": true, "displayMode": "list", "placement": "bottom", "calcs": []}, "tooltip": {"mode": "multi", "sort": "desc"}};
export const field21: Json<timeseries.FieldConfig> = {"drawStyle": "line", "lineInterpolation": "linear", "fillOpacity": 5, "showPoints": "never", "spanNulls": false, "stacking": {"mode": "none", "group": "A"}};
export const options39: Json<Partial<timeseries.Options>> = {"legend": {"showLegend": true, "displayMode": "list", "placement": "bottom", "calcs": []}, "tooltip": {"mode": "multi", "sort": "desc"}};
export const field39: Json<timeseries.FieldConfig> = {"drawStyle": "line", "lineInterpolation": "linear", "fillOpacity": 5, "showPoints": "never", "spanNulls": false, "stacking": {"mode": "none", "group": "A"}};
export const options104: Json<Partial<row.Options>> = {};
export const options14: Json<Partial<timeseries.Options>> = {"legend": {"showLegend": true, "displayMode": "list", "placement": "bottom", "calcs": []}, "tooltip": {"mode": "multi", "sort": "desc"}};
export const field14: Json<timeseries.FieldConfig> = {"drawStyle": "line", "lineInterpolation": "linear", "fillOpacity": 5, "showPoints": "never", "spanNulls": false, "stacking": {"mode": "none", "group": "A"}};
export const options15: Json<Partial<timeseries.Options>> = {"legend": {"showLegend": true, "displayMode": "list", "placement": "bottom", "calcs": []}, "tooltip": {"mode": "multi", "sort": "desc"}};
export const field15: Json<timeseries.FieldConfig> = {"drawStyle": "line", "lineInterpolation": "linear", "fillOpacity": 5, "showPoints": "never", "spanNulls": false, "stacking": {"mode": "none", "group": "A"}};
export const options16: Json<Partial<timeseries.Options>> = {"legend": {"showLegend": true, "displayMode": "list", "placement": "bottom", "calcs": []}, "tooltip": {"mode": "multi", "sort": "desc"}};
export const field16: Json<timeseries.FieldConfig> = {"drawStyle": "line", "lineInterpolation": "linear", "fillOpacity": 30, "showPoints": "never", "spanNulls": false, "stacking": {"mode": "normal", "group": "A"}};
export const options17: Json<Partial<timeseries.Options>> = {"legend": {"showLegend": true, "displayMode": "list", "placement": "bottom", "calcs": []}, "tooltip": {"mode": "multi", "sort": "desc"}};
export const field17: Json<timeseries.FieldConfig> = {"drawStyle": "line", "lineInterpolation": "linear", "fillOpacity": 5, "showPoints": "never", "spanNulls": false, "stacking": {"mode": "none", "group": "A"}};
export const options18: Json<Partial<timeseries.Options>> = {"legend": {"showLegend": true, "displayMode": "list", "placement": "bottom", "calcs": []}, "tooltip": {"mode": "multi", "sort": "desc"}};
export const field18: Json<timeseries.FieldConfig> = {"drawStyle": "line", "lineInterpolation": "linear", "fillOpacity": 5, "showPoints": "never", "spanNulls": false, "stacking": {"mode": "none", "group": "A"}};
export const options19: Json<Partial<timeseries.Options>> = {"legend": {"showLegend": true, "displayMode": "list", "placement": "bottom", "calcs": []}, "tooltip": {"mode": "multi", "sort": "desc"}};
export const field19: Json<timeseries.FieldConfig> = {"drawStyle": "line", "lineInterpolation": "linear", "fillOpacity": 30, "showPoints": "never", "spanNulls": false, "stacking": {"mode": "normal", "group": "A"}};
export const options20: Json<Partial<timeseries.Options>> = {"legend": {"showLegend": true, "displayMode": "list", "placement": "bottom", "calcs": []}, "tooltip": {"mode": "multi", "sort": "desc"}};
export const field20: Json<timeseries.FieldConfig> = {"drawStyle": "line", "lineInterpolation": "linear", "fillOpacity": 5, "showPoints": "never", "spanNulls": false, "stacking": {"mode": "none", "group": "A"}};
export const options22: Json<Partial<timeseries.Options>> = {"legend": {"showLegend": true, "displayMode": "list", "placement": "bottom", "calcs": []}, "tooltip": {"mode": "multi", "sort": "desc"}};
export const field22: Json<timeseries.FieldConfig> = {"drawStyle": "line", "lineInterpolation": "linear", "fillOpacity": 5, "showPoints": "never", "spanNulls": false, "stacking": {"mode": "none", "group": "A"}};
export const options23: Json<Partial<timeseries.Options>> = {"legend": {"showLegend": true, "displayMode": "list", "placement": "bottom", "calcs": []}, "tooltip": {"mode": "multi", "sort": "desc"}};
export const field23: Json<timeseries.FieldConfig> = {"drawStyle": "line", "lineInterpolation": "linear", "fillOpacity": 5, "showPoints": "never", "spanNulls": false, "stacking": {"mode": "none", "group": "A"}};
export const options24: Json<Partial<timeseries.Options>> = {"legend": {"showLegend": true, "displayMode": "list", "placement": "bottom", "calcs": []}, "tooltip": {"mode": "multi", "sort": "desc"}};
export const field24: Json<timeseries.FieldConfig> = {"drawStyle": "line", "lineInterpolation": "linear", "fillOpacity": 5, "showPoints": "never", "spanNulls": false, "stacking": {"mode": "none", "group": "A"}};
export const options40: Json<Partial<timeseries.Options>> = {"legend": {"showLegend": true, "displayMode": "list", "placement": "bottom", "calcs": []}, "tooltip": {"mode": "multi", "sort": "desc"}};
export const field40: Json<timeseries.FieldConfig> = {"drawStyle": "line", "lineInterpolation": "linear", "fillOpacity": 5, "showPoints": "never", "spanNulls": false, "stacking": {"mode": "none", "group": "A"}};
export const options41: Json<Partial<timeseries.Options>> = {"legend": {"showLegend": true, "displayMode": "list", "placement": "bottom", "calcs": []}, "tooltip": {"mode": "multi", "sort": "desc"}};
export const field41: Json<timeseries.FieldConfig> = {"drawStyle": "line", "lineInterpolation": "linear", "fillOpacity": 5, "showPoints": "never", "spanNulls": false, "stacking": {"mode": "none", "group": "A"}};