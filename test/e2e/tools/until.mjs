/*
 * Asks what `rangerctl` would show, again and again in one process, until it is as it should be:
 *
 *   until.mjs <seconds> <expression> <arguments of rangerctl…>
 *
 * The expression is JavaScript over `it`, what a pipe would be given, and `code`, the exit status.
 * `it` is undefined when nothing came, and an expression that throws is not true yet.
 */
import { performance } from 'node:perf_hooks';
import process from 'node:process';
import { setTimeout as sleep } from 'node:timers/promises';
import { runInNewContext } from 'node:vm';

const LOOK_AGAIN_MS = 50;
const root = new URL('../../../dist/', import.meta.url);
const { runCli } = await import(new URL('rangerctl/cli.js', root).href);
const { diskFiles } = await import(new URL('rangerctl/files.js', root).href);
const { processIo } = await import(new URL('rangerctl/io.js', root).href);

const [seconds, expression, ...args] = process.argv.slice(2);

/** One command line, and what it printed. */
async function show() {
  const printed = [];
  const output = (lines) => ({
    isTTY: false,
    write: (text, written) => {
      lines.push(String(text));
      written?.();
      return true;
    },
  });
  const complaints = [];
  const io = { ...processIo(() => [], diskFiles), stdout: output(printed), stderr: output(complaints) };
  const code = await runCli(args, io, '0');
  return { code, text: printed.join(''), said: complaints.join('') };
}

function isSo({ code, text }) {
  try {
    return Boolean(runInNewContext(expression, { it: text === '' ? undefined : JSON.parse(text), code }));
  } catch {
    return false;
  }
}

const end = performance.now() + Number(seconds) * 1000;
let last = await show();
while (!isSo(last) && performance.now() < end) {
  await sleep(LOOK_AGAIN_MS);
  last = await show();
}
if (!isSo(last)) {
  console.error(`waited ${seconds} s in vain until ${expression}\n${last.text}${last.said}`);
  process.exitCode = 1;
}
