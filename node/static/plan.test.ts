import { describe, expect, it } from 'vitest';
import { checkPeer, checkPeers, peerOf, staticPlan } from './plan.js';

const flags = { static: 'off', primaryUrl: '', replicaUrls: '' } as const;

describe('the plan of a static node', () => {
  it('is read off its flags', () => {
    expect(staticPlan(flags, 'localhost:1')).toBeUndefined();
    expect(staticPlan({ ...flags, static: 'primary', primaryUrl: 'kvstore-0.kvstore:8080' }, 'localhost:1')).toEqual({ is: 'primary', peers: [] });
    expect(staticPlan({ ...flags, static: 'primary', replicaUrls: 'http://b:2, c:3/' }, 'localhost:1')).toEqual({ is: 'primary', peers: ['b:2', 'c:3'] });
    expect(staticPlan({ ...flags, static: 'replica', primaryUrl: 'http://a:1' }, 'localhost:1')).toEqual({ is: 'replica', primary: 'a:1', peers: ['a:1'] });
  });

  it('has to name a primary, and another', () => {
    expect(() => staticPlan({ ...flags, static: 'replica' }, 'localhost:1')).toThrow('a replica has to be told where its primary is');
    expect(() => staticPlan({ ...flags, static: 'replica', primaryUrl: 'localhost:1' }, 'localhost:1')).toThrow('names this replica itself');
  });

  it('takes addresses as they are, and as URLs', () => {
    expect(['localhost:8081', 'http://localhost:8081', 'http://localhost:8081/', 'http://kv-0.kv', '[::1]:8', 'http://[::1]:8'].map(peerOf)).toEqual(['localhost:8081', 'localhost:8081', 'localhost:8081', 'kv-0.kv:80', '[::1]:8', '[::1]:8']);
    for (const bad of ['kv-0', ':8081', 'https://a:1', 'ftp://a:1', 'http://', 'a:0', 'a:1/path']) expect(peerOf(bad)).toBeUndefined();
    expect(checkPeer('')).toBeUndefined();
    expect(checkPeer('nowhere')).toContain('host:port');
    expect(checkPeers('a:1,nowhere')).toBe('"nowhere" has to be host:port or http://host:port');
  });
});
