/*
 * Checks how the parts of a rendered chart refer to each other, which no schema can.
 * Prints what is wrong, and exits 1; else how many documents there are.
 *
 *   helm template … | node rendered.mjs
 */
import { readFileSync } from 'node:fs';
import { parseAllDocuments } from 'yaml';

const documents = parseAllDocuments(readFileSync(0, 'utf8')).map((document) => document.toJS()).filter(Boolean);
const problems = [];
const ofKind = (...kinds) => documents.filter(({ kind }) => kinds.includes(kind));
const workloads = ofKind('StatefulSet', 'Deployment');
const selects = (selector, labels) => Object.entries(selector).every(([name, value]) => labels?.[name] === value);

/** @param {boolean} right @param {string} what */
function expect(right, what) {
  if (!right) problems.push(what);
}

for (const { kind, metadata, spec } of workloads) {
  const name = `${kind} ${metadata.name}`;
  const { template } = spec;
  const [container] = template.spec.containers;
  const ports = new Map(container.ports.map((port) => [port.name, port.containerPort]));
  const env = new Map(container.env.map((variable) => [variable.name, variable.value]));
  expect(selects(spec.selector.matchLabels, template.metadata.labels), `${name} does not select its own pods`);
  expect(env.size === container.env.length, `${name} sets a variable twice`);
  expect(env.get('LISTEN') === `:${ports.get('main')}`, `${name} listens at ${env.get('LISTEN')}, but its port main is ${ports.get('main')}`);
  expect(env.get('REST_ADDR') === (ports.has('rest') ? `:${ports.get('rest')}` : undefined), `${name} has another port for REST than it names`);
  // A variable is filled in only behind the one that it names.
  const names = [...env.keys()];
  for (const [variable, value] of env) {
    for (const [, other] of (value ?? '').matchAll(/\$\((\w+)\)/g)) expect(names.indexOf(other) >= 0 && names.indexOf(other) < names.indexOf(variable), `${name}: ${variable} names ${other}, which is not before it`);
  }
  expect(container.livenessProbe.httpGet.path === '/health' && container.readinessProbe.httpGet.path === '/ready', `${name} has other probes`);
  expect(container.securityContext.readOnlyRootFilesystem && template.spec.securityContext.runAsNonRoot, `${name} may write, or run as root`);
  expect(container.resources.requests !== undefined, `${name} asks for no resources`);
  const volumes = [...(template.spec.volumes ?? []), ...(spec.volumeClaimTemplates ?? []).map((claim) => claim.metadata)].map((volume) => volume.name);
  for (const mount of container.volumeMounts ?? []) expect(volumes.includes(mount.name), `${name} mounts ${mount.name}, which there is not`);
  expect(ofKind('PodDisruptionBudget').filter((budget) => selects(budget.spec.selector.matchLabels, template.metadata.labels)).length === 1, `${name} does not have one disruption budget`);
  if (kind === 'StatefulSet') {
    const service = ofKind('Service').find((other) => other.metadata.name === spec.serviceName);
    expect(service?.spec.clusterIP === 'None' && selects(service.spec.selector, template.metadata.labels), `${name} has no headless service that selects its pods`);
  }
}
const POD_NAME = 'statefulset.kubernetes.io/pod-name';
for (const { metadata, spec } of ofKind('Service')) {
  // One pod's label, which Kubernetes gives it.
  const { [POD_NAME]: pod, ...selector } = spec.selector;
  const behind = workloads.filter(({ spec: { template } }) => selects(selector, template.metadata.labels));
  if (pod !== undefined) expect(behind.every(({ kind, metadata: { name }, spec: { replicas } }) => kind === 'StatefulSet' && Array.from({ length: replicas }, (_, i) => `${name}-${i}`).includes(pod)), `Service ${metadata.name} selects ${pod}, which there is not`);
  expect(behind.length === 1, `Service ${metadata.name} selects the pods of ${behind.length} workloads`);
  const ports = behind.flatMap(({ spec: { template } }) => template.spec.containers[0].ports.map((port) => port.name));
  for (const { targetPort } of spec.ports) expect(ports.includes(targetPort), `Service ${metadata.name} goes to port ${targetPort}, which its pods have not`);
}
const ids = documents.map(({ kind, metadata }) => `${kind} ${metadata.name}`);
expect(new Set(ids).size === ids.length, 'two documents of one kind have one name');

for (const problem of problems) console.log(problem);
if (problems.length === 0) console.log(`${documents.length} documents`);
process.exitCode = problems.length === 0 ? 0 : 1;
