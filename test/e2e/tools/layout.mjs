/*
 * Which ranges serve, and where, in the order of their keys: `2:5200 3:5201`.
 *
 *   layout.mjs <addr of the controller>                      prints it
 *   layout.mjs <addr of the controller> <seconds> <layout>   waits until it is so
 */
import { Buffer } from 'node:buffer';
import { performance } from 'node:perf_hooks';
import { setTimeout as sleep } from 'node:timers/promises';
import { connect } from './grpc.mjs';

const RS_ACTIVE = 1;
const LOOK_AGAIN_MS = 50;

const [address, seconds, wanted] = process.argv.slice(2);
const debug = connect(address, 'ranger', 'Debug');

async function layout() {
  const { ranges } = await debug.call('RangesList', {});
  return ranges
    .filter(({ state }) => state === RS_ACTIVE)
    .sort((a, b) => Buffer.compare(a.meta.start, b.meta.start))
    .map(({ meta, placements }) => `${meta.ident}:${placements.filter((p) => p.rangeInfo?.serving).map((p) => p.placement.node).join('+')}`)
    .join(' ');
}

if (wanted === undefined) {
  console.log(await layout());
} else {
  const end = performance.now() + Number(seconds) * 1000;
  let now = '';
  while (performance.now() < end && now !== wanted) {
    now = await layout().catch((error) => error.message);
    if (now !== wanted) await sleep(LOOK_AGAIN_MS);
  }
  if (now !== wanted) {
    console.error(`waited ${seconds} s in vain until the ranges are at ${wanted}; they are at ${now}`);
    process.exitCode = 1;
  }
}
debug.close();
