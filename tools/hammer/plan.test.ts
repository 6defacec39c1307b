import { describe, expect, it } from 'vitest';
import { ACTIONS, DEFAULT_PLAN, parsePlan } from './plan.js';

function problemsOf(json: unknown): string {
  try {
    parsePlan(typeof json === 'string' ? json : JSON.stringify(json), 'load.json');
  } catch (thrown) {
    return (thrown as Error).message;
  }
  return 'none';
}

describe('parsePlan', () => {
  it('reads the file of the Go tool', () => {
    const text = '{"workers":[{"prefix":"a","qps":{"create":1,"read":5,"update":1,"delete":0}}]}';
    expect(parsePlan(text, 'load.json')).toEqual({ workers: [{ prefix: 'a', qps: { create: 1, read: 5, update: 1, delete: 0 } }] });
  });

  it('takes a rate that is left out as 0, and fractions', () => {
    expect(parsePlan('{"workers":[{"prefix":"","qps":{"read":0.5}}]}', 'f').workers[0]?.qps).toEqual({ create: 0, read: 0.5, update: 0, delete: 0 });
  });

  it('names every problem at once', () => {
    const message = problemsOf({
      worker: [],
      workers: [{ prefix: 7, qps: { create: -1, raed: 5 } }, 'x', { prefix: 'a', qps: [] }, { prefix: 'y'.repeat(1000), qps: { read: 'fast' } }],
    });
    expect(message.split('; ')).toEqual([
      'load.json: worker is unknown; known here: workers'.split('; ')[0],
      'known here: workers',
      'workers[0].prefix has to be a string',
      'workers[0].qps.raed is unknown',
      'known here: create, read, update, delete',
      'workers[0].qps.create is -1',
      'it has to be a number from 0 to 1000000',
      'workers[1] has to be an object',
      'workers[2].qps has to be an object with create, read, update, delete',
      'workers[3].prefix has 1000 bytes',
      'at most 960 are allowed',
      'workers[3].qps.read is "fast"',
      expect.stringContaining('it has to be a number from 0 to 1000000. It looks like'),
    ]);
  });

  it.each([
    ['no JSON', '{', /load\.json is not JSON/],
    ['no object', [], /has to be an object/],
    ['no workers', {}, /workers has to be a list with at least one worker/],
    ['an empty list', { workers: [] }, /at least one worker/],
    ['nothing to do', { workers: [{ prefix: 'a', qps: {} }] }, /every qps is 0/],
    ['too many workers', { workers: Array.from({ length: 1001 }, () => ({ prefix: 'a', qps: { read: 1 } })) }, /at most 1000/],
  ])('refuses %s', (_, json, message) => {
    expect(problemsOf(json)).toMatch(message);
  });

  it('the default puts every kind of request on keys on both sides of any letter', () => {
    const prefixes = DEFAULT_PLAN.workers.map((worker) => worker.prefix);
    expect(prefixes.some((prefix) => prefix < 'm') && prefixes.some((prefix) => prefix >= 'm')).toBe(true);
    for (const worker of DEFAULT_PLAN.workers) expect(ACTIONS.every((action) => worker.qps[action] > 0)).toBe(true);
  });
});
