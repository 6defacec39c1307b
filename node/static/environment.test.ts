import { describe, expect, it } from 'vitest';
import { staticEnvironment } from './environment.js';

describe('the variables of other stores', () => {
  it.each([
    ['nothing is set', {}, 'laptop', {}],
    ['a port alone', { PORT: '8081' }, 'kvstore-0', { PORT: '8081' }],
    ['a primary', { ROLE: 'primary', PORT: '8081', DATA_DIR: './data/primary' }, 'laptop', { ROLE: 'primary', PORT: '8081', LISTEN: ':8081', DATA_DIR: './data/primary' }],
    ['a replica', { ROLE: 'replica', PORT: '8082', PRIMARY_URL: 'http://localhost:8081' }, 'laptop', { ROLE: 'replica', PORT: '8082', LISTEN: ':8082', PRIMARY_URL: 'http://localhost:8081' }],
    ['the first pod', { ROLE: 'auto' }, 'kvstore-0', { ROLE: 'primary', PORT: '8080', LISTEN: ':8080', PRIMARY_URL: 'kvstore-0.kvstore:8080' }],
    ['another pod', { ROLE: 'auto' }, 'kvstore-12', { ROLE: 'replica', PORT: '8080', LISTEN: ':8080', PRIMARY_URL: 'kvstore-0.kvstore:8080' }],
    ['a primary without a role', { REPLICA_URLS: 'http://kvstore-1.kvstore:8080' }, 'kvstore-0', { REPLICA_URLS: 'http://kvstore-1.kvstore:8080', ROLE: 'primary', PORT: '8080', LISTEN: ':8080', PRIMARY_URL: 'kvstore-0.kvstore:8080' }],
    ['a pod by its full name', { ROLE: 'auto' }, 'kv-1.heads.default.svc', { ROLE: 'replica', PORT: '8080', LISTEN: ':8080', PRIMARY_URL: 'kv-0.heads.default.svc:8080' }],
    ['what is listened on was said', { ROLE: 'primary', LISTEN: 'localhost:1' }, 'laptop', { ROLE: 'primary', LISTEN: 'localhost:1', PORT: '8080' }],
    ['a leader of mehdb', { MEHDB_HOST: 'mehdb-0', MEHDB_PORT: '9999' }, 'laptop', { MEHDB_HOST: 'mehdb-0', MEHDB_PORT: '9999', ROLE: 'primary', PORT: '9999', LISTEN: ':9999', PRIMARY_URL: 'mehdb-0.mehdb:9999' }],
    ['a follower of mehdb', { MEHDB_LOCAL: 'yes', MEHDB_DATADIR: './follower-data' }, 'build-0', { MEHDB_LOCAL: 'yes', MEHDB_DATADIR: './follower-data', ROLE: 'replica', PORT: '9876', LISTEN: ':9876', DATA_DIR: './follower-data', PRIMARY_URL: 'localhost:9999' }],
    ['a pod of mehdb', { MEHDB_PORT: '9876' }, 'mehdb-1', { MEHDB_PORT: '9876', ROLE: 'replica', PORT: '9876', LISTEN: ':9876', PRIMARY_URL: 'mehdb-0.mehdb:9876' }],
  ])('%s', (_words, env, hostname, expected) => {
    expect(staticEnvironment(env, hostname)).toEqual(expected);
  });
});
