/*
 * Makes the JSON schemas of Kubernetes' own kinds from its OpenAPI document, one file a
 * kind that stands alone, named as kubeconform looks for them. Fields that there are not
 * are refused.
 *
 *   node schemas.mjs <swagger.json> <directory>
 */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const [source, directory] = process.argv.slice(2);
const { definitions } = JSON.parse(readFileSync(source, 'utf8'));

// OpenAPI 2 cannot say that these are text or a number.
const EITHER = {
  'io.k8s.apimachinery.pkg.util.intstr.IntOrString': { oneOf: [{ type: 'string' }, { type: 'integer' }] },
  'io.k8s.apimachinery.pkg.api.resource.Quantity': { oneOf: [{ type: 'string' }, { type: 'number' }] },
};

const strict = Object.fromEntries(
  Object.entries(definitions).map(([name, schema]) => [name, EITHER[name] ?? (schema.properties && !schema.additionalProperties ? { ...schema, additionalProperties: false } : schema)]),
);

/** All that a definition refers to, directly or not. */
function reached(name, known = new Set()) {
  if (known.has(name)) return known;
  known.add(name);
  for (const [, other] of JSON.stringify(strict[name]).matchAll(/"#\/definitions\/([^"]+)"/g)) reached(other, known);
  return known;
}

mkdirSync(directory, { recursive: true });
for (const [name, schema] of Object.entries(definitions)) {
  for (const { group, version, kind } of schema['x-kubernetes-group-version-kind'] ?? []) {
    const parts = [kind.toLowerCase(), ...(group === '' ? [] : [group.split('.')[0]]), version];
    const used = Object.fromEntries([...reached(name)].map((other) => [other, strict[other]]));
    writeFileSync(join(directory, `${parts.join('-')}.json`), JSON.stringify({ $ref: `#/definitions/${name}`, definitions: used }));
  }
}
