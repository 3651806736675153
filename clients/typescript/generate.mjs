// Print the types of every schema in the folder given, as one module.
import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";

import { load } from "js-yaml";
import { compile } from "json-schema-to-typescript";

const folder = process.argv[2];
const files = readdirSync(folder).filter((name) => name.endsWith(".yaml")).sort();
const schemas = Object.fromEntries(
  files.map((name) => [name, load(readFileSync(join(folder, name), "utf8"))]),
);

// Files refer to each other by name; in one document they are its definitions.
const relink = (node) => {
  if (Array.isArray(node)) return node.map(relink);
  if (node === null || typeof node !== "object") return node;
  if (typeof node.$ref === "string") return { $ref: `#/definitions/${schemas[node.$ref].title}` };
  return Object.fromEntries(Object.entries(node).map(([key, value]) => [key, relink(value)]));
};

const document = {
  title: "Everything",
  type: "object",
  additionalProperties: false,
  definitions: Object.fromEntries(
    Object.values(schemas).map(({ $schema, ...schema }) => [schema.title, relink(schema)]),
  ),
};

const types = await compile(document, "Everything", {
  additionalProperties: false,
  bannerComment: "// Generated from schemas/ by scripts/generate-typescript; do not edit.",
  unreachableDefinitions: true,
});
const noise = [
  /^export interface Everything \{\}\n+/m,
  / \*\n \* This interface was referenced by `Everything`'s JSON-Schema\n \* via the `definition` ".*"\.\n/g,
];
process.stdout.write(noise.reduce((text, pattern) => text.replace(pattern, ""), types));
