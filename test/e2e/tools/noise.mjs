/*
 * Opens connections that speak nothing, garbage, or half of what they should, and waits
 * until the other side has closed each. Exit code 1 when it does not.
 *
 *   noise.mjs <port…>
 */
import { Buffer } from 'node:buffer';
import { randomBytes } from 'node:crypto';
import { connect } from 'node:net';
import { clearTimeout, setTimeout } from 'node:timers';

const IDLE = 1000;
const CLOSED_WITHIN_MS = 45_000;
const PREFACE = 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n';
const NOISE = {
  'random bytes': randomBytes(4096),
  'half an HTTP/2 preface': PREFACE.slice(0, 12),
  'a preface, then garbage': Buffer.concat([Buffer.from(PREFACE), randomBytes(4096)]),
  'a preface, then a frame too long': Buffer.concat([Buffer.from(PREFACE), Buffer.from([0xff, 0xff, 0xff, 0x04, 0, 0, 0, 0, 0])]),
  'PRI that is none': 'PRI / HTTP/1.1\r\n\r\n',
  'TLS': Buffer.from('16030100f1010000ed0303', 'hex'),
  'half an HTTP request': 'GET /health HTTP/1.1\r\nhost: x\r\n',
  'an endless header': `GET / HTTP/1.1\r\nx: ${'y'.repeat(100_000)}`,
};

function noisy(port, name, bytes) {
  return new Promise((resolve, reject) => {
    const socket = connect(port, 'localhost', () => bytes && socket.write(bytes));
    const timer = setTimeout(() => {
      socket.destroy();
      reject(new Error(`${name} on port ${port}: still open after ${CLOSED_WITHIN_MS} ms`));
    }, CLOSED_WITHIN_MS);
    socket.on('data', () => {});
    socket.on('error', () => {});
    socket.on('close', () => {
      clearTimeout(timer);
      resolve();
    });
  });
}

const ports = process.argv.slice(2).map(Number);
const all = ports.flatMap((port) => Object.entries(NOISE).map(([name, bytes]) => noisy(port, name, bytes)));
for (let i = 0; i < IDLE; i++) all.push(noisy(ports[0], 'an idle connection', undefined));
const outcomes = await Promise.allSettled(all);
const failures = new Set(outcomes.filter((o) => o.status === 'rejected').map((o) => o.reason.message));
for (const failure of failures) console.error(failure);
console.log(`${outcomes.length} connections, ${failures.size} kinds left open`);
process.exitCode = failures.size > 0 ? 1 : 0;
