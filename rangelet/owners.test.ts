import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { containsKey, formatInterval, isEmpty } from '../model/interval.js';
import { type Key, keyFromText } from '../model/key.js';
import { type Claim, NO_OWNERS, type Owner, type Ownership, bestClaim, mergeClaims, ownerOf, ownersWithin, reassign } from './owners.js';

/** `1 a-m n1 e5 #9`: range 1, [a, m), on n1, at epoch 5, the ninth report. */
function claim(text: string): Claim {
  const [id, bounds = '', node = '', epoch = 'e0', report = '#0'] = text.split(' ');
  const [start, end] = bounds.split('-') as [Key, Key];
  return { range: { id: Number(id), start, end }, node, address: `${node}:1`, epoch: Number(epoch.slice(1)), report: Number(report.slice(1)) };
}

const show = (owners: readonly Owner[]): string[] => owners.map((o) => `${formatInterval(o.interval)} R${o.range}@${o.node}`);
const merged = (...claims: string[]): string[] => show(mergeClaims(claims.map(claim)).owners);

describe('who owns what', () => {
  test.each<[string, string[], string[]]>([
    ['nothing is claimed', [], []],
    ['one for all', ['1 - n1'], ['[-inf, +inf) R1@n1']],
    ['neighbours', ['1 -m n1', '2 m- n2'], ['[-inf, m) R1@n1', '[m, +inf) R2@n2']],
    ['a gap', ['1 a-c n1', '2 m-z n2'], ['[a, c) R1@n1', '[m, z) R2@n2']],
    ['the higher epoch of one range', ['1 - n1 e5 #9', '1 - n2 e6 #1'], ['[-inf, +inf) R1@n2']],
    ['the latest report at one epoch', ['1 - n1 e5 #9', '1 - n2 e5 #1'], ['[-inf, +inf) R1@n1']],
    ['a child that came after its parent', ['1 - n1 e9 #1', '2 c-m n2 e1 #2'], ['[-inf, c) R1@n1', '[c, m) R2@n2', '[m, +inf) R1@n1']],
    ['a parent that took its keys back', ['1 - n1 e9 #3', '2 c-m n2 e1 #2'], ['[-inf, +inf) R1@n1']],
    ['an old claim of a range that lost says nothing', ['1 - n1 e5 #9', '1 - n2 e6 #1', '2 c-m n3 e1 #2'],
      ['[-inf, c) R1@n2', '[c, m) R2@n3', '[m, +inf) R1@n2']],
  ])('%s', (_, claims, owners) => {
    expect(merged(...claims)).toEqual(owners);
  });

  test('does not depend on the order of the claims', () => {
    fc.assert(
      fc.property(fc.uniqueArray(someClaim, { selector: (c) => c.report, maxLength: 8 }), fc.infiniteStream(fc.nat()), (claims, noise) => {
        const shuffled = claims.map((c) => ({ c, at: noise.next().value as number })).sort((a, b) => a.at - b.at).map(({ c }) => c);
        expect(show(mergeClaims(shuffled).owners)).toEqual(show(mergeClaims(claims).owners));
      }),
    );
  });
});

const letter = fc.constantFrom('', 'b', 'd', 'f', 'h', 'j').map(keyFromText);
const someClaim: fc.Arbitrary<Claim> = fc
  .record({
    range: fc.record({ id: fc.integer({ min: 1, max: 6 }), start: letter, end: letter }).filter((range) => !isEmpty(range)),
    epoch: fc.nat(3),
    node: fc.constantFrom('n1', 'n2', 'n3'),
    address: fc.constant('h:1'),
    report: fc.nat(1000),
  });

const PROBES = ['\0', 'a', 'b', 'c', 'd', 'e', 'f', 'g', 'h', 'i', 'j', 'k', '\xff'] as Key[];

/** The rule, said naively. */
function naiveOwner(claims: readonly Claim[], key: Key): Claim | undefined {
  return claims.filter((c) => containsKey(c.range, key)).sort((a, b) => b.report - a.report)[0];
}

function expectSound({ owners, contested }: Ownership, believed: readonly Claim[]): void {
  for (const key of PROBES) expect(ownerOf(owners, key)?.claim, `the owner of ${key}`).toBe(naiveOwner(believed, key));
  owners.forEach((owner, i) => {
    const next = owners[i + 1];
    if (!next) return;
    expect(owner.interval.end !== '' && owner.interval.end <= next.interval.start).toBe(true);
    expect(owner.claim === next.claim && owner.interval.end === next.interval.start, 'pieces that touch are one').toBe(false);
  });
  for (const lost of believed) {
    const loses = PROBES.some((key) => containsKey(lost.range, key) && naiveOwner(believed, key) !== lost);
    if (loses) expect(contested.has(lost)).toBe(true);
  }
  for (const one of contested) expect(believed).toContain(one);
}

describe('changes', () => {
  test('one by one or many at once lead to the same as everything from scratch', () => {
    const change = fc.record({ remove: fc.array(fc.nat(20), { maxLength: 3 }), add: fc.array(someClaim, { maxLength: 3 }) });
    fc.assert(
      fc.property(fc.array(change, { maxLength: 12 }), (changes) => {
        const believed = new Map<number, Claim>();
        let ownership = NO_OWNERS;
        let report = 0;
        for (const { remove, add } of changes) {
          const removed: Claim[] = [];
          const leave = (id: number): void => {
            const old = believed.get(id);
            if (old && !removed.includes(old)) removed.push(old);
            believed.delete(id);
          };
          for (const id of remove) leave(id);
          const added = new Map<number, Claim>();
          for (const one of add) {
            if (!added.has(one.range.id)) leave(one.range.id);
            added.set(one.range.id, { ...one, report: ++report });
          }
          for (const [id, one] of added) believed.set(id, one);
          ownership = reassign(ownership, removed, [...added.values()]);
          expectSound(ownership, [...believed.values()]);
        }
        expect(show(ownership.owners)).toEqual(show(mergeClaims(believed.values()).owners));
      }),
      { numRuns: 500 },
    );
  });

  test('leave what they do not touch as it is', () => {
    const claims = Array.from({ length: 26 }, (_, i) => claim(`${i + 1} ${String.fromCharCode(97 + i)}-${String.fromCharCode(98 + i)} n1`));
    const before = mergeClaims(claims);
    const after = reassign(before, [claims[3] as Claim], []);
    expect(after.owners).toHaveLength(25);
    expect(after.owners.filter((owner, i) => owner === before.owners[i < 3 ? i : i + 1])).toHaveLength(25);
    expect(before.owners).toHaveLength(26);
  });

  test('nothing changed is the same value', () => {
    expect(reassign(NO_OWNERS, [], [])).toBe(NO_OWNERS);
  });
});

describe('looking up', () => {
  const { owners } = mergeClaims([claim('1 b-d n1'), claim('2 d-f n2'), claim('3 h- n3')]);

  test.each([['a', undefined], ['b', 1], ['cz', 1], ['d', 2], ['f', undefined], ['h', 3], ['zz', 3]])('%s', (key, range) => {
    expect(ownerOf(owners, key as Key)?.range).toBe(range);
  });

  test('an interval', () => {
    const within = (start: string, end: string): number[] => ownersWithin(owners, { start: start as Key, end: end as Key }).map((o) => o.range);
    expect([within('', ''), within('c', 'e'), within('d', 'h'), within('f', 'h'), within('x', '')]).toEqual([[1, 2, 3], [1, 2], [2], [], [3]]);
  });

  test('the best of no claims is none', () => {
    expect(bestClaim([])).toBeUndefined();
  });
});

describe('many ranges', () => {
  const COUNT = 100_000;
  const key = (i: number): Key => (i === 0 || i === COUNT ? '' : String(i).padStart(6, '0')) as Key;
  const one = (i: number, report: number): Claim => ({
    range: { id: i + 1, start: key(i), end: key(i + 1) }, epoch: 1, node: `n${i % 100}`, address: 'h:1', report,
  });

  test('all at once, and then a change of one that looks at few', () => {
    const claims = Array.from({ length: COUNT }, (_, i) => one(i, i));
    const all = reassign(NO_OWNERS, [], claims);
    expect(all.owners).toHaveLength(COUNT);
    const fresh = one(50_000, COUNT);
    const after = reassign(all, [claims[50_000] as Claim], [fresh]);
    expect(after.owners).toHaveLength(COUNT);
    expect(after.owners[50_000]?.claim).toBe(fresh);
    expect(after.owners.filter((owner, i) => owner !== all.owners[i])).toHaveLength(1);
  });

  test('pieces that come to touch become one, however long the list before them', () => {
    const parent: Claim = { range: { id: COUNT + 1, start: '' as Key, end: '' as Key }, epoch: 1, node: 'old', address: 'h:2', report: 0 };
    const claims = Array.from({ length: 2000 }, (_, i) => one(i, i + 1));
    const gap = reassign(mergeClaims([parent, ...claims]), [claims[1499] as Claim], []);
    const wider = reassign(gap, [claims[1500] as Claim], []);
    expect(wider.owners[1499]?.interval).toEqual({ start: key(1499), end: key(1501) });
    expect(wider.owners).toHaveLength(2000);
    expect(gap.owners[1499]?.interval).toEqual({ start: key(1499), end: key(1500) });
    expect(show(wider.owners)).toEqual(show(mergeClaims([parent, ...claims.filter((_, i) => i !== 1499 && i !== 1500)]).owners));
  });

  test('a claim on everything that is out of date', () => {
    const stale: Claim = { range: { id: COUNT + 1, start: '' as Key, end: '' as Key }, epoch: 9, node: 'old', address: 'h:2', report: 0 };
    const claims = Array.from({ length: COUNT }, (_, i) => one(i, i + 1));
    const all = reassign(reassign(NO_OWNERS, [], [stale]), [], claims);
    expect(all.owners).toHaveLength(COUNT);
    const gap = reassign(all, [claims[7] as Claim], []);
    expect(ownerOf(gap.owners, key(7))?.node).toBe('old');
    expect(reassign(gap, [], [claims[7] as Claim]).owners).toHaveLength(COUNT);
  });
});
