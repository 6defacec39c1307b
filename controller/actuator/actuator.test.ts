import { beforeEach, describe, expect, it } from 'vitest';
import { EVERYTHING } from '../../model/interval.js';
import type { Command } from '../../model/states.js';
import { AppError } from '../../runtime/errors.js';
import { silentLogger } from '../../runtime/log.js';
import type { WantedCommand } from '../orchestrator/types.js';
import type { CommandAnswer, NodeTransport } from '../transport/transport.js';
import { Actuator } from './actuator.js';

function command(name: Command, range: number, node: string, epoch = 1): WantedCommand {
  return { command: name, node, address: `host:${node}`, index: 0, range: { id: range, ...EVERYTHING }, epoch, parents: [], initial: false };
}

interface Call {
  readonly text: string;
  readonly signal: AbortSignal;
  readonly term: number;
  readonly answer: (answer: CommandAnswer) => void;
  readonly fail: (error: AppError) => void;
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
const inactive: CommandAnswer = { state: 'Inactive', lastError: '', info: undefined };

describe('the actuator', () => {
  let calls: Call[];
  let told: string[];
  let term: number | undefined;

  const transport: NodeTransport = {
    send: (c, options) =>
      new Promise((answer, fail) => {
        calls.push({ text: `${c.command} R${c.range.id}@${c.node} ${c.epoch}`, signal: options.signal, term: options.term, answer, fail });
      }),
    info: () => Promise.reject(new AppError('UNIMPLEMENTED', 'not asked for here')),
    ranges: () => () => undefined,
    close: () => undefined,
  };

  function make(inFlightMax = 10): Actuator {
    const tell = (what: string) => (c: WantedCommand) => void told.push(`${what} ${c.command} R${c.range.id}@${c.node} ${c.epoch}`);
    return new Actuator({
      logger: silentLogger,
      transportOf: (node) => (node === 'away' ? undefined : transport),
      term: () => term,
      sent: tell('sent'),
      answered: tell('answered'),
      failed: tell('failed'),
      cancelled: tell('cancelled'),
      timeoutMs: 1000,
      inFlightMax,
    });
  }

  beforeEach(() => {
    calls = [];
    told = [];
    term = 1;
  });

  it('sends one command at a time for a copy, and the same one only once', async () => {
    const actuator = make();
    actuator.want([command('Prepare', 1, '5200')]);
    actuator.want([command('Prepare', 1, '5200')]);
    expect(calls.map((c) => c.text)).toEqual(['Prepare R1@5200 1']);
    calls[0]?.answer(inactive);
    await turn();
    expect(told).toEqual(['sent Prepare R1@5200 1', 'answered Prepare R1@5200 1']);
    expect(actuator.inFlight).toBe(0);
  });

  it('cancels what another decision replaced, and tells nothing of its answer', async () => {
    const actuator = make();
    actuator.want([command('Deactivate', 1, '5200', 2)]);
    actuator.want([command('Activate', 1, '5200', 3)]);
    expect(calls.map((c) => [c.text, c.signal.aborted])).toEqual([
      ['Deactivate R1@5200 2', true],
      ['Activate R1@5200 3', false],
    ]);
    calls[0]?.answer(inactive);
    await turn();
    expect(told).toEqual(['sent Deactivate R1@5200 2', 'cancelled Deactivate R1@5200 2', 'sent Activate R1@5200 3']);
  });

  it('leaves alone what was not looked at', () => {
    const actuator = make();
    actuator.want([command('Prepare', 1, '5200'), command('Prepare', 2, '5200')]);
    actuator.want([], [2]);
    expect(calls.map((c) => c.signal.aborted)).toEqual([false, true]);
    actuator.want([]);
    expect(calls.map((c) => c.signal.aborted)).toEqual([true, true]);
  });

  it('bounds what is in flight, and sends the next when one comes back', async () => {
    const actuator = make(2);
    actuator.want([1, 2, 3, 4].map((id) => command('Drop', id, '5200')));
    expect(calls).toHaveLength(2);
    actuator.want([], [3]);
    calls[0]?.fail(new AppError('UNAVAILABLE', 'gone'));
    await turn();
    expect(calls.map((c) => c.text)).toEqual(['Drop R1@5200 1', 'Drop R2@5200 1', 'Drop R4@5200 1']);
    expect(told).toContain('failed Drop R1@5200 1');
  });

  it('sends nothing once the lead is lost, and each command with the term of its moment', async () => {
    const actuator = make(1);
    actuator.want([command('Drop', 1, '5200'), command('Drop', 2, '5200'), command('Drop', 3, '5200')]);
    term = 2;
    calls[0]?.answer({ ...inactive, state: 'NotFound' });
    await turn();
    term = undefined;
    calls[1]?.answer({ ...inactive, state: 'NotFound' });
    await turn();
    expect(calls.map((c) => [c.text, c.term])).toEqual([
      ['Drop R1@5200 1', 1],
      ['Drop R2@5200 1', 2],
    ]);
    expect(actuator.inFlight).toBe(0);
  });

  it('sends nothing to a node it has no connection to', () => {
    const actuator = make();
    actuator.want([command('Prepare', 1, 'away')]);
    expect(told).toEqual([]);
    expect(actuator.inFlight).toBe(0);
  });
});
