// node generate.mjs ASYNCAPI_YAML DIRECTORY: a TypeScript file for each named type of the document.
import { readFile } from "node:fs/promises";
import { TypeScriptFileGenerator } from "@asyncapi/modelina";

const [document, directory] = process.argv.slice(2);
const generator = new TypeScriptFileGenerator({
  modelType: "interface", // what JSON.parse gives, with the names that are in the records
  enumType: "union",
  mapType: "record",
  rawPropertyNames: true,
  processorOptions: { interpreter: { ignoreAdditionalProperties: true } },
});
await generator.generateToFiles(await readFile(document, "utf8"), directory, { exportType: "named" });
