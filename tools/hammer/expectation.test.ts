import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ABSENT, Expectation, UNKNOWN_WRITES_MAX, type Verdict, type Version, type WriteTicket } from './expectation.js';

const RIGHT: Verdict = { right: true };

function acknowledged(...versions: Version[]): Expectation {
  const key = new Expectation();
  for (const version of versions) key.acknowledge(key.beginWrite(version));
  return key;
}

function read(key: Expectation, version: Version): Verdict {
  return key.endRead(key.beginRead(), version);
}

describe('a key that nobody else uses meanwhile', () => {
  it('is absent at first', () => {
    expect(read(new Expectation(), ABSENT)).toEqual(RIGHT);
    expect(read(new Expectation(), 1)).toEqual({ right: false, possible: [ABSENT] });
  });

  it('reads what was last acknowledged', () => {
    const key = acknowledged(1, 2);
    expect(read(key, 2)).toEqual(RIGHT);
    expect(key.possible()).toEqual([2]);
  });

  it('catches a lost write', () => {
    expect(read(acknowledged(1), ABSENT)).toEqual({ right: false, possible: [1] });
  });

  it('catches a stale read', () => {
    expect(read(acknowledged(1, 2), 1)).toEqual({ right: false, possible: [2] });
  });

  it('catches a deleted value that comes back', () => {
    expect(read(acknowledged(1, ABSENT), 1)).toEqual({ right: false, possible: [ABSENT] });
  });

  it('tells one lie once, and the next one again', () => {
    const key = acknowledged(1, 2);
    expect(read(key, 1).right).toBe(false);
    expect(read(key, 1)).toEqual(RIGHT);
    expect(read(key, 2)).toEqual({ right: false, possible: [1] });
  });
});

describe('a read that overlaps a write', () => {
  it('may see either value', () => {
    for (const version of [1, 2]) {
      const key = acknowledged(1);
      const write = key.beginWrite(2);
      const reading = key.beginRead();
      key.acknowledge(write);
      expect(key.endRead(reading, version)).toEqual(RIGHT);
    }
  });

  it('may see any of several values that passed meanwhile', () => {
    for (const version of [1, 2, 3]) {
      const key = acknowledged(1);
      const reading = key.beginRead();
      key.acknowledge(key.beginWrite(2));
      key.acknowledge(key.beginWrite(3));
      expect(key.endRead(reading, version)).toEqual(RIGHT);
    }
  });

  it('may not see a value that was gone before it began', () => {
    const key = acknowledged(1, 2);
    const reading = key.beginRead();
    key.acknowledge(key.beginWrite(3));
    expect(key.endRead(reading, 1)).toEqual({ right: false, possible: [2, 3] });
  });

  it('once seen, a new value is not followed by the old one', () => {
    const key = acknowledged(1);
    key.beginWrite(2);
    expect(read(key, 2)).toEqual(RIGHT);
    expect(read(key, 1)).toEqual({ right: false, possible: [2] });
  });

  it('may see the old value although a read beside it has seen the new one', () => {
    const key = acknowledged(1);
    key.beginWrite(2);
    const slow = key.beginRead();
    expect(read(key, 2)).toEqual(RIGHT);
    expect(key.endRead(slow, 1)).toEqual(RIGHT);
  });
});

describe('a write whose outcome is unknown', () => {
  it('counts as either until it is read', () => {
    for (const version of [1, 2]) {
      const key = acknowledged(1);
      key.giveUp(key.beginWrite(2));
      expect(key.possible()).toEqual([1, 2]);
      expect(read(key, version)).toEqual(RIGHT);
    }
  });

  it('may happen after a read of the old value, and then has happened', () => {
    const key = acknowledged(1);
    key.giveUp(key.beginWrite(2));
    expect(read(key, 1)).toEqual(RIGHT);
    expect(read(key, 2)).toEqual(RIGHT);
    expect(read(key, 1).right).toBe(false);
  });

  it('may happen after a later write was acknowledged, but only once', () => {
    const key = acknowledged(1);
    key.giveUp(key.beginWrite(2));
    key.acknowledge(key.beginWrite(3));
    expect(read(key, 3)).toEqual(RIGHT);
    expect(read(key, 2)).toEqual(RIGHT);
    expect(read(key, 3)).toEqual({ right: false, possible: [2] });
  });

  it('once settled, is decided by the next read for ever', () => {
    const key = acknowledged(1);
    const write = key.beginWrite(2);
    key.giveUp(write);
    key.settle(write);
    expect(key.possible()).toEqual([1, 2]);
    expect(read(key, 1)).toEqual(RIGHT);
    expect(read(key, 2)).toEqual({ right: false, possible: [1] });
  });

  it('once settled, is forgotten under the next acknowledged write', () => {
    const key = acknowledged(1);
    const write = key.beginWrite(2);
    key.giveUp(write);
    key.settle(write);
    key.acknowledge(key.beginWrite(3));
    expect(read(key, 2)).toEqual({ right: false, possible: [3] });
  });

  it('settled late does not touch a newer write that took its place', () => {
    const key = acknowledged(1);
    const first = key.beginWrite(2);
    key.giveUp(first);
    expect(read(key, 2)).toEqual(RIGHT);
    const second = key.beginWrite(3);
    expect(second.slot).toBe(first.slot);
    key.settle(first);
    key.acknowledge(second);
    expect(read(key, 3)).toEqual(RIGHT);
  });

  it('an unknown delete may remove the value', () => {
    const key = acknowledged(1);
    key.giveUp(key.beginWrite(ABSENT));
    expect(read(key, 1)).toEqual(RIGHT);
    expect(read(key, ABSENT)).toEqual(RIGHT);
    expect(read(key, 1)).toEqual({ right: false, possible: [ABSENT] });
  });

  it('stops further writes when there are too many, until one is settled', () => {
    const key = new Expectation();
    const tickets: WriteTicket[] = [];
    for (let version = 1; version <= UNKNOWN_WRITES_MAX; version++) {
      const ticket = key.beginWrite(version);
      key.giveUp(ticket);
      tickets.push(ticket);
    }
    expect(key.writable).toBe(false);
    for (const ticket of tickets.slice(0, 1)) key.settle(ticket);
    expect(key.writable).toBe(true);
  });
});

describe('a write that was refused', () => {
  it('leaves what was there', () => {
    const key = acknowledged(1);
    key.refuse(key.beginWrite(2));
    expect(key.possible()).toEqual([1]);
    expect(read(key, 2)).toEqual({ right: false, possible: [1] });
  });

  it('that a read has seen stays seen', () => {
    const key = acknowledged(1);
    const write = key.beginWrite(2);
    expect(read(key, 2)).toEqual(RIGHT);
    key.refuse(write);
    expect(read(key, 2)).toEqual(RIGHT);
  });
});

/** A history as a checker sees it: a position in time for each begin and end. */
interface Operation {
  readonly kind: 'write' | 'read';
  readonly begin: number;
  /** Infinity for a write of unknown outcome. */
  readonly end: number;
  readonly version: Version;
}

/** Searches every order: slow and obviously right. */
function explainable(operations: readonly Operation[], value: Version = ABSENT): boolean {
  if (operations.every((operation) => operation.end === Infinity)) return true;
  const firstEnd = Math.min(...operations.map((operation) => operation.end));
  return operations.some((operation, index) => {
    if (operation.begin > firstEnd) return false;
    if (operation.kind === 'read' && operation.version !== value) return false;
    const rest = operations.filter((_, other) => other !== index);
    return explainable(rest, operation.kind === 'write' ? operation.version : value);
  });
}

type Step = { readonly act: 'write' | 'ack' | 'giveUp' | 'read' } | { readonly act: 'answer'; readonly read: number; readonly version: Version };

const steps = fc.array(
  fc.oneof(
    { weight: 3, arbitrary: fc.record({ act: fc.constantFrom('write', 'ack', 'ack', 'giveUp', 'read', 'read') }) },
    { weight: 4, arbitrary: fc.record({ act: fc.constant('answer' as const), read: fc.nat(3), version: fc.nat(4) }) },
  ),
  { minLength: 1, maxLength: 14 },
);

/** Plays steps on an Expectation and notes them as a history; ends at the first verdict of "wrong". */
function play(plan: readonly Step[]): { operations: Operation[]; right: boolean } {
  const key = new Expectation();
  const ended: Operation[] = [];
  const open: { ticket: object; begin: number }[] = [];
  let live: { ticket: WriteTicket; begin: number } | undefined;
  let written = 0;
  for (const [now, step] of plan.entries()) {
    if (step.act === 'write' && key.writable) {
      written++;
      const version = written % 3 === 0 ? ABSENT : written;
      live = { ticket: key.beginWrite(version), begin: now };
    } else if ((step.act === 'ack' || step.act === 'giveUp') && live) {
      if (step.act === 'ack') key.acknowledge(live.ticket);
      else key.giveUp(live.ticket);
      ended.push({ kind: 'write', begin: live.begin, end: step.act === 'ack' ? now : Infinity, version: live.ticket.version });
      live = undefined;
    } else if (step.act === 'read') {
      open.push({ ticket: key.beginRead(), begin: now });
    } else if (step.act === 'answer') {
      const [reading] = open.splice(step.read % Math.max(open.length, 1), 1);
      if (!reading) continue;
      ended.push({ kind: 'read', begin: reading.begin, end: now, version: step.version });
      if (!key.endRead(reading.ticket as never, step.version).right) {
        return { operations: withLive(ended, live), right: false };
      }
    }
  }
  return { operations: withLive(ended, live), right: true };
}

function withLive(ended: Operation[], live: { ticket: WriteTicket; begin: number } | undefined): Operation[] {
  return live ? [...ended, { kind: 'write', begin: live.begin, end: Infinity, version: live.ticket.version }] : ended;
}

describe('against a search of every order', () => {
  it('says "wrong" exactly when no order explains the history', () => {
    let wrong = 0;
    fc.assert(
      fc.property(steps, (plan) => {
        const { operations, right } = play(plan);
        if (!right) wrong++;
        expect(right).toBe(explainable(operations));
      }),
      { numRuns: 3000, seed: 7 },
    );
    expect(wrong).toBeGreaterThan(100);
  });

  it('never blames a register that applies each operation at one instant', () => {
    const choice = fc.record({ pick: fc.nat(5), which: fc.nat(9) });
    fc.assert(
      fc.property(fc.array(choice, { maxLength: 60 }), (choices) => {
        const key = new Expectation();
        let value = ABSENT;
        let version = 0;
        let live: { ticket: WriteTicket; applied: boolean } | undefined;
        const lost: WriteTicket[] = [];
        const open: { ticket: object; saw?: Version }[] = [];
        for (const { pick, which } of choices) {
          const reading = open[which % Math.max(open.length, 1)];
          if (pick === 0 && key.writable) live = { ticket: key.beginWrite(which === 0 ? ABSENT : ++version), applied: false };
          else if (pick === 1 && live && !live.applied) [value, live.applied] = [live.ticket.version, true];
          else if (pick === 2 && live) {
            if (live.applied && which > 3) key.acknowledge(live.ticket);
            else key.giveUp(live.ticket);
            if (!live.applied) lost.push(live.ticket);
            live = undefined;
          } else if (pick === 3 && which > 6) value = lost.pop()?.version ?? value;
          else if (pick === 3 && key.readable) open.push({ ticket: key.beginRead() });
          else if (pick === 4 && reading) reading.saw = value;
          else if (pick === 5 && reading?.saw !== undefined) {
            open.splice(open.indexOf(reading), 1);
            expect(key.endRead(reading.ticket as never, reading.saw)).toEqual(RIGHT);
          }
        }
        expect(key.overflowed).toBe(false);
      }),
      { numRuns: 2000, seed: 11 },
    );
  });
});
