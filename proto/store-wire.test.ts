import { describe, expect, it } from 'vitest';
import type { Condition } from '../model/store.js';
import { StoreCondition, StoreDeleteRequest, StorePutRequest } from './gen/kv/store.js';
import { conditionFromWire, conditionToWire, deleteFromWire, putOptionsFromWire } from './store-wire.js';

describe('the condition of a write', () => {
  const through = (condition: Condition | undefined): Condition | undefined => {
    const wire = conditionToWire(condition);
    return conditionFromWire(wire && StoreCondition.decode(StoreCondition.encode(wire).finish()));
  };

  it('is the same behind the wire', () => {
    const conditions: (Condition | undefined)[] = [undefined, { is: 'absent' }, { is: 'present' }, { is: 'at', positions: [{ epoch: 3, offset: 41 }] }, { is: 'notAt', positions: [] }];
    expect(conditions.map(through)).toEqual(conditions);
  });

  it('is refused when it is there and says nothing, or nothing that is known here, rather than left out', () => {
    const empty = StoreCondition.decode(Buffer.alloc(0));
    // A condition of a later version, and a key.
    const put = StorePutRequest.decode(Buffer.from([0x0a, 1, 0x6b, 0x22, 2, 0x78, 1]));
    const remove = StoreDeleteRequest.decode(Buffer.from([0x0a, 1, 0x6b, 0x12, 0]));
    for (const read of [() => conditionFromWire(empty), () => putOptionsFromWire(put), () => deleteFromWire(remove)]) expect(read).toThrow('condition: it has none of absent, present, at and not_at');
    expect(() => conditionFromWire({ is: { $case: 'absent', absent: false } })).toThrow('absent is false, which says nothing');
  });
});
