import { Ajv } from 'ajv';
import { readFileSync, readdirSync, statSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import { CONTROLLER_OPTIONS } from '../../controller/config.js';
import { NODE_OPTIONS } from '../../node/config.js';
import { PROXY_OPTIONS } from '../../proxy/config.js';
import { type OptionSpec, parseConfig, type Spec } from '../../runtime/config.js';

/* What deploy/ says of flags, variables and ports is compared with the programs. Whether it runs is for `bin/test deploy`. */

const root = new URL('../../', import.meta.url);
const read = (path: string): string => readFileSync(new URL(path, root), 'utf8');

const PROGRAMS: Readonly<Record<string, Spec>> = { controller: CONTROLLER_OPTIONS, node: NODE_OPTIONS, proxy: PROXY_OPTIONS };

function variablesOf(spec: Spec): string[] {
  return Object.values<OptionSpec>(spec).flatMap(({ env }) => env ?? []);
}

/** What is wrong with these variables for that program. */
function problemsOf(program: string, environment: Readonly<Record<string, string>>): string[] {
  const spec = PROGRAMS[program];
  if (!spec) return [`${program} is no program`];
  const known = variablesOf(spec);
  const unknown = Object.keys(environment).filter((name) => !known.includes(name));
  const parsed = parseConfig({ name: program, summary: '' }, spec, [], environment);
  return [...unknown.map((name) => `${program} has no variable ${name}`), ...(parsed.kind === 'problems' ? parsed.problems : [])];
}

/** host:port of an option of that program, as it is when its variable is not set. */
const portOf = (address: string): number => Number(/\d+$/.exec(address)?.[0]);

interface ComposeService {
  readonly image: string;
  readonly command: string;
  readonly hostname?: string;
  readonly environment?: Readonly<Record<string, string | number>>;
  readonly ports?: readonly string[];
  readonly volumes?: readonly string[];
  readonly depends_on?: Readonly<Record<string, { readonly condition: string }>>;
  readonly healthcheck?: object;
  readonly read_only?: boolean;
}

describe('docker-compose.yml', () => {
  // Each ${NAME:-value} without the variable.
  const text = read('deploy/docker-compose.yml').replace(/\$\{\w+:-([^}]*)\}/g, '$1');
  const { services, volumes } = parse(text, { merge: true }) as { readonly services: Readonly<Record<string, ComposeService>>; readonly volumes: object };
  const ours = Object.entries(services).filter(([, { image }]) => image.startsWith('keyranger'));

  test('has Consul, two controllers, a proxy and three nodes', () => {
    expect(Object.keys(services)).toEqual(['consul', 'controller-1', 'controller-2', 'proxy', 'node-1', 'node-2', 'node-3']);
    expect(ours.map(([, { command }]) => command)).toEqual(['controller', 'controller', 'proxy', 'node', 'node', 'node']);
  });

  test.each(ours)('%s is given variables that its program has, and its own name', (name, service) => {
    const environment = Object.fromEntries(Object.entries(service.environment ?? {}).map(([key, value]) => [key, String(value)]));
    expect(problemsOf(service.command, environment)).toEqual([]);
    expect([service.hostname, environment['IDENT']]).toEqual([name, name]);
    expect(service.read_only).toBe(true);
  });

  test.each(ours)('%s listens at the ports that are published', (_name, { command, environment, ports = [] }) => {
    const listened = [String(PROGRAMS[command]?.['listen']?.default), String(environment?.['REST_ADDR'] ?? '')].map(portOf);
    for (const port of ports) expect(listened).toContain(portOf(port));
  });

  test('refers to what it has', () => {
    for (const { volumes: mounted = [], depends_on: after = {} } of Object.values(services)) {
      for (const mount of mounted) expect(Object.keys(volumes)).toContain(mount.split(':')[0]);
      for (const name of Object.keys(after)) expect(services[name]?.healthcheck, name).toBeDefined();
    }
  });

  test('answers REST on 7080, to this machine alone', () => {
    expect(services['proxy']?.ports).toEqual(['127.0.0.1:5100:5100', '127.0.0.1:7080:7080']);
  });
});

describe('the image', () => {
  const entrypoint = read('deploy/image/entrypoint');

  test('knows each program, and the port of each that serves', () => {
    const served = [...entrypoint.matchAll(/^ {2}(\w+)\) serve (\d+)/gm)].map(([, program, port]) => [program, Number(port)]);
    expect(Object.fromEntries(served)).toEqual(Object.fromEntries(Object.entries(PROGRAMS).map(([program, spec]) => [program, portOf(String(spec['listen']?.default))])));
    const exposed = /^EXPOSE (.*)$/m.exec(read('deploy/Dockerfile'))?.[1]?.split(' ').map(Number);
    expect(exposed).toEqual([...served.map(([, port]) => port).sort(), 7080]);
    expect(statSync(new URL('deploy/image/entrypoint', root)).mode & 0o111).toBe(0o111);
  });

  test('is made of every folder that is compiled', () => {
    const { include } = JSON.parse(read('tsconfig.build.json')) as { readonly include: readonly string[] };
    const copied = read('.dockerignore').split('\n');
    for (const folder of include) expect(copied).toContain(`!${folder}`);
  });
});

describe('the systemd units', () => {
  const variables = (file: string): Record<string, string> => Object.fromEntries([...read(`deploy/systemd/${file}`).matchAll(/^(\w+)=(.*)$/gm)].map(([, name = '', value = '']) => [name, value]));

  test.each(Object.keys(PROGRAMS))('%s is given variables that it has', (program) => {
    expect(problemsOf(program, { ...variables('common.env'), ...variables(`${program}.env`) })).toEqual([]);
    const unit = read(`deploy/systemd/keyranger-${program}.service`);
    expect(unit).toContain(`ExecStart=/opt/keyranger/bin/${program}\n`);
    const own = /^Environment=KEYRANGER_BUILT=\/opt\/keyranger (.*)$/m.exec(unit)?.[1] ?? '';
    expect(problemsOf(program, Object.fromEntries(own.split(' ').map((pair) => pair.split('=') as [string, string])))).toEqual([]);
  });
});

describe('the chart', () => {
  const values = parse(read('deploy/helm/values.yaml')) as Record<string, unknown>;
  const schema = JSON.parse(read('deploy/helm/values.schema.json')) as Schema;
  const accepts = new Ajv({ allowUnionTypes: true }).compile(schema);

  interface Schema {
    readonly properties?: Readonly<Record<string, Schema>>;
  }

  /** Paths of what is in both, or in one alone. */
  function leaves(thing: unknown, at: (thing: unknown) => object | undefined, path = ''): string[] {
    const inside = Object.entries(at(thing) ?? {});
    return inside.length === 0 ? [path] : inside.flatMap(([name, value]) => leaves(value, at, `${path}/${name}`));
  }

  test('has values that its schema takes', () => {
    expect(accepts(values), JSON.stringify(accepts.errors)).toBe(true);
  });

  test.each([
    ['a topology that there is not', { topology: 'shard' }],
    ['a misspelt value', { node: { replica: 3 } }],
    ['no nodes', { node: { replicas: 0 } }],
    ['a port that there is not', { node: { port: 65536 } }],
    ['a size that is no amount', { node: { persistence: { size: '10 gigs' } } }],
    ['a Consul without its port', { coordination: { consul: 'consul' } }],
    ['eight copies', { replication: { copies: 8 } }],
  ])('refuses %s', (_what, wrong) => {
    expect(accepts(wrong)).toBe(false);
  });

  test('has a default for each value of the schema', () => {
    const described = leaves(schema, (thing) => (thing as Schema).properties);
    const given = new Set(leaves(values, (thing) => (typeof thing === 'object' && !Array.isArray(thing) ? (thing ?? undefined) : undefined)));
    const missing = described.filter((path) => path !== '/global' && ![...given].some((other) => other === path || other.startsWith(`${path}/`)));
    expect(missing).toEqual([]);
  });

  test('gives each program variables that it has, and none of its values a name that is not there', () => {
    const templates = readdirSync(new URL('deploy/helm/templates', root)).filter((file) => /\.(yaml|tpl|txt)$/.test(file)).map((file) => [file, read(`deploy/helm/templates/${file}`)] as const);
    // What Kubernetes fills in, and what rangerctl reads.
    const others = ['NAMESPACE', 'POD_IP', 'RANGERCTL_ADDR', 'RANGERCTL_PROXY'];
    const shared = Object.keys(PROGRAMS).map((program) => variablesOf(PROGRAMS[program] ?? {}));
    for (const [file, text] of templates) {
      const own = PROGRAMS[file.split('-')[0] ?? ''];
      const known = own ? variablesOf(own) : (shared[0] ?? []).filter((name) => shared.every((all) => all.includes(name)));
      for (const [, name = ''] of text.matchAll(/- name: ([A-Z_]+)$/gm)) expect([...known, ...others], `${name} in ${file}`).toContain(name);
      for (const [, path = ''] of text.matchAll(/\.Values\.([\w.]+)/g)) {
        const found = path.split('.').reduce<unknown>((inside, name) => (inside as Record<string, unknown> | undefined)?.[name], values);
        expect(found, `.Values.${path} in ${file}`).toBeDefined();
      }
    }
  });

  test('is of the version of the project', () => {
    const { version } = JSON.parse(read('package.json')) as { readonly version: string };
    expect(parse(read('deploy/helm/Chart.yaml'))).toMatchObject({ version, appVersion: version });
  });

  test.each([
    ['controller', '5000', CONTROLLER_OPTIONS],
    ['proxy', '5100', PROXY_OPTIONS],
  ])('has the port of a %s', (program, port, spec: Spec) => {
    expect(portOf(String(spec['listen']?.default))).toBe(Number(port));
    expect(read(`deploy/helm/templates/${program}-${program === 'proxy' ? 'deployment' : 'statefulset'}.yaml`)).toContain(`containerPort: ${port}`);
  });
});
