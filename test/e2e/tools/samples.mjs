/*
 * Runs the shell samples of a page of the docs against a cluster of its own, and
 * compares what they print with what the page shows.
 *
 *   node samples.mjs <page> <base port> <data directory>
 *
 * A ```console block has commands after `$ `, which may go on after `> `, and below each what it prints, in which
 * figures may differ and lines may come in another order. A ```bash block is a script
 * that has to succeed. Ports and the data directory are those of the cluster, hammers
 * run for a short time, and what a sample needs that is not on this machine is told.
 */
import { spawn, spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { clearTimeout, setTimeout } from 'node:timers';
import { fileURLToPath } from 'node:url';

const root = join(dirname(fileURLToPath(import.meta.url)), '../../..');
const [page, basePort, dataDir] = process.argv.slice(2);
const HAMMER = '8s';
const PATIENCE_MS = 60_000;
/** Tools that a sample may use and a machine may lack. */
const OPTIONAL = ['jq', 'dot', 'curl', 'grpcurl'];
/** What the tests have done already when they come here, or do elsewhere. */
const ELSEWHERE = /^(bin\/dev|bin\/test|git clone)\b/;

const base = Number(basePort);
const ports = new Map([5000, 5100, 5200, 5201, 5202].map((port) => [String(port), String(port - 5000 + base)]));
// A slip of the finger, and a port at which nobody answers.
ports.set('5021', (ports.get('5201') ?? '').slice(1)).set('5999', '1');

const onThisCluster = (text) => text.replace(/\b5\d{3}\b/g, (port) => ports.get(port) ?? port);

function samplesOf(text) {
  return [...text.matchAll(/^```(console|bash)\n(.*?)^```$/gms)].flatMap(([, kind, body]) => (kind === 'bash' ? [{ command: body.trim(), shown: undefined }] : dialogue(body)));
}

function dialogue(body) {
  const samples = [];
  for (const line of body.trimEnd().split('\n')) {
    if (line.startsWith('$ ')) samples.push({ command: line.slice(2), shown: [] });
    else if (samples.length === 0) throw new Error(`a console block of ${page} begins with ${JSON.stringify(line)}, not with a command`);
    else if (line.startsWith('> ') && samples.at(-1).shown.length === 0) samples.at(-1).command += `\n${line.slice(2)}`;
    else samples.at(-1).shown.push(line);
  }
  return samples;
}

/** A line as far as it is the same on every machine and in every run. */
function shape(line) {
  return line
    .replace(/\b[0-9a-f]{16}\b/g, '#')
    .replace(/run [0-9a-f]{8}\b/, 'run #')
    .replace(/\bm?[0-9a-f]{8}-\d+-\d+\b/, '#')
    .replace(/(?<![\w@:.])-(?![\w>])/g, '#')
    .replace(/(?<![\w@:])\d[\d,.]*(?![\w@])/g, '#')
    .replace(/\bkeys? \(/, 'keys (')
    .replace(/# (B|KiB|MiB)(?!\w)/g, '# bytes')
    .replace(/# (µs|ms|s)(?!\w)/g, '# time')
    .replace(/\s+/g, ' ')
    .trim();
}

// Of what a hammer tells only on a machine that is held up, or of keys that are there or not yet.
const OPTIONAL_LINE = /^(requests due but not sent|hammer itself was held up)/;
const shapes = (lines) => lines.filter((line) => line.trim() !== '' && !OPTIONAL_LINE.test(line)).map(shape).sort();

function start(command) {
  const script = onThisCluster(command)
    .replaceAll('.data/', `${dataDir}/`)
    .replace(/--duration \w+/, `--duration ${HAMMER}`)
    // A sample without a pipe shows what a terminal shows.
    .replace(/^(bin\/rangerctl (?!.*(--json|\||--request|--render)).*)$/m, '$1 --no-json');
  const controller = `localhost:${ports.get('5000')}`;
  const env = { ...process.env, NO_COLOR: '1', COORDINATION: `embedded://${controller}`, RANGERCTL_ADDR: controller, RANGERCTL_PROXY: `localhost:${ports.get('5100')}` };
  const child = spawn('bash', ['-o', 'pipefail', '-c', script], { cwd: root, env, detached: true, stdio: ['ignore', 'pipe', 'pipe'] });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (bytes) => (output += bytes));
  const timer = setTimeout(() => process.kill(-child.pid, 'SIGKILL'), PATIENCE_MS);
  const ended = new Promise((resolve) => {
    child.on('exit', (code) => {
      clearTimeout(timer);
      // What went on in the background keeps the pipes open.
      setTimeout(() => resolve({ code, output: output.trimEnd() }), 50);
    });
  });
  groups.push(child.pid);
  return ended;
}

const groups = [];
let failures = 0;

function complain(command, ...lines) {
  failures++;
  console.error([`${page}: ${command}`, ...lines].join('\n'));
}

function judge({ command, shown }, { code, output }) {
  const refusal = shown?.some((line) => line.startsWith('rangerctl: '));
  if (code !== 0 && !refusal) return complain(command, `ended with ${code}:`, output);
  if (shown === undefined || shown.length === 0) return;
  const wanted = shapes(shown.map(onThisCluster));
  const got = shapes(output.split('\n'));
  if (wanted.join('\n') === got.join('\n')) return;
  complain(command, 'does not print what the page shows. The page:', ...wanted.filter((line) => !got.includes(line)), 'it printed:', ...got.filter((line) => !wanted.includes(line)), '', output);
}

const lacks = (command) => OPTIONAL.filter((tool) => new RegExp(`(^|[|(\\s])${tool}\\s`).test(command) && spawnSync('which', [tool]).status !== 0);

const samples = samplesOf(readFileSync(join(root, page), 'utf8')).filter(({ command }) => !ELSEWHERE.test(command));
if (samples.length === 0) complain('nothing', 'the page has no samples');
const background = [];
for (const sample of samples) {
  const missing = lacks(sample.command);
  if (missing.length > 0) {
    console.error(`${page}: not tried, because ${missing.join(', ')} is not on this machine: ${sample.command}`);
    continue;
  }
  // Load goes on while the samples behind it run, but not while they break something.
  if (sample.command.startsWith('kill ')) await Promise.all(background);
  const ended = start(sample.command);
  if (sample.command.startsWith('bin/hammer')) background.push(ended.then((end) => judge(sample, end)));
  else judge(sample, await ended);
}
await Promise.all(background);
for (const group of groups) {
  try {
    process.kill(-group, 'SIGTERM');
  } catch {
    // It ended by itself.
  }
}
console.log(`${page}: ${samples.length} samples`);
process.exit(failures === 0 ? 0 : 1);
