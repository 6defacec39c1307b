import { describe, expect, it } from 'vitest';
import { NodesListResponse, RangeResponse, RunEvent } from './gen/ranger/controller.js';
import { PutRequest, WriteLevel } from './gen/kv/kv.js';
import { PlacementState, RangeState } from './gen/ranger/types.js';
import { loadProtoJson } from './protojson.js';

const json = loadProtoJson();

describe('ProtoJson writes as protojson with UseProtoNames and EmitUnpopulated', () => {
  it('what is not set: zeros, empty lists, and null for messages', () => {
    expect(json.of('ranger.RangeResponse', new Uint8Array())).toEqual({
      meta: null, state: 'RS_UNKNOWN', parents: [], children: [], placements: [], epoch: '0', waiting: '',
      unavailable: false, unavailable_ms: '0', copies: null,
    });
    expect(json.of('ranger.NodesListResponse', NodesListResponse.encode({ nodes: [] }).finish())).toEqual({ nodes: [] });
  });

  it('fields in their order, numbers of 64 bits as text, bytes as base64, states by name', () => {
    const bytes = RangeResponse.encode({
      meta: { ident: 9007199254740993n, start: Buffer.from([0xff]), end: Buffer.alloc(0) },
      state: RangeState.RS_ACTIVE,
      parents: [1n],
      children: [],
      placements: [{ placement: { node: '5200', state: PlacementState.PS_ACTIVE, index: 0 }, rangeInfo: undefined, primary: false, inSync: false, lagBytes: 0n }],
      epoch: 1n,
      waiting: '',
      unavailable: false,
      unavailableMs: 0n,
      copies: undefined,
    }).finish();
    expect(JSON.stringify(json.of('ranger.RangeResponse', bytes))).toBe(
      '{"meta":{"ident":"9007199254740993","start":"/w==","end":""},"state":"RS_ACTIVE","parents":["1"],"children":[],' +
        '"placements":[{"placement":{"node":"5200","state":"PS_ACTIVE","index":0},"range_info":null,"primary":false,"in_sync":false,"lag_bytes":"0"}],"epoch":"1","waiting":"","unavailable":false,"unavailable_ms":"0","copies":null}',
    );
  });

  it('alternatives only where chosen, and optional fields only where given', () => {
    const bytes = RunEvent.encode({ event: { $case: 'done', done: { elapsedMs: 1n, keys: 0n, bytes: 0n, ranges: [] } } }).finish();
    expect(json.of('ranger.RunEvent', bytes)).toEqual({ done: { elapsed_ms: '1', keys: '0', bytes: '0', ranges: [] } });
    const put = { key: Buffer.from('a'), level: WriteLevel.WRITE_LEVEL_SAFE, writeId: Buffer.alloc(0), retryAgeMs: 0n };
    const printed = { key: 'YQ==', level: 'WRITE_LEVEL_SAFE', write_id: '', retry_age_ms: '0' };
    expect(json.of('kv.PutRequest', PutRequest.encode(put).finish())).toEqual(printed);
    expect(json.of('kv.PutRequest', PutRequest.encode({ ...put, value: Buffer.alloc(0) }).finish())).toEqual({ ...printed, value: '' });
  });

  it('refuses a type that is not ours', () => {
    expect(() => json.of('ranger.Nonsense', new Uint8Array())).toThrow('ranger.Nonsense is not described');
  });
});
