import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { AppError } from '../runtime/errors.js';
import { GetRequest, GetResponse, PutRequest, PutResponse } from './gen/kv/kv.js';
import { PipeRequests, PipeResponses } from './gen/kv/pipe.js';
import * as codec from './kv-codec.js';

const bytes = fc.uint8Array({ maxLength: 300 }).map((array) => Buffer.from(array));
const count = fc.oneof(fc.nat(300), fc.maxSafeNat());
const uint32 = fc.integer({ min: 0, max: 0xffffffff });

const writeId = fc.option(fc.uint8Array({ minLength: 16, maxLength: 16 }).map((array) => Buffer.from(array)), { nil: undefined });
const request = fc.record({
  id: uint32,
  action: fc.nat(5),
  key: bytes,
  value: fc.option(bytes, { nil: undefined }),
  level: fc.nat(2),
  writeId,
  retryAgeMs: count,
  stale: fc.boolean(),
});
const response = fc.record({
  id: uint32,
  code: fc.nat(16),
  message: fc.string({ unit: 'grapheme' }),
  value: bytes,
  epoch: count,
  offset: count,
  stale: fc.boolean(),
  atOffset: count,
});

describe('the hand-written codec', () => {
  it('writes the bytes that the generated code writes, and reads them back', () => {
    fc.assert(
      fc.property(fc.array(request, { maxLength: 8 }), (requests) => {
        const encoded = codec.encodePipeRequests(requests);
        const wire = requests.map((r) => ({ ...r, writeId: r.writeId ?? codec.NO_BYTES, retryAgeMs: BigInt(r.retryAgeMs) }));
        expect(encoded).toEqual(Buffer.from(PipeRequests.encode({ requests: wire }).finish()));
        expect(codec.decodePipeRequests(encoded)).toEqual(requests);
      }),
    );
    fc.assert(
      fc.property(fc.array(response, { maxLength: 8 }), (responses) => {
        const wire = responses.map((r) => ({ ...r, epoch: BigInt(r.epoch), offset: BigInt(r.offset), atOffset: BigInt(r.atOffset) }));
        const encoded = codec.encodePipeResponses(responses);
        expect(encoded).toEqual(Buffer.from(PipeResponses.encode({ responses: wire }).finish()));
        expect(codec.decodePipeResponses(encoded)).toEqual(responses);
      }),
    );
  });

  it('agrees with the generated code on unary messages', () => {
    fc.assert(
      fc.property(request, response, ({ key, value, level, retryAgeMs, ...asked }, { epoch, offset, stale, atOffset }) => {
        const get = codec.encodeGetRequest(key, { stale });
        expect(get).toEqual(Buffer.from(GetRequest.encode({ key, stale }).finish()));
        expect(codec.decodeGetRequest(get)).toEqual({ id: 0, action: codec.GET, key, value: undefined, stale });

        const options = { level, writeId: asked.writeId, retryAgeMs };
        const put = codec.encodePutRequest(key, value, options);
        const wire = { key, value, level, writeId: asked.writeId ?? codec.NO_BYTES, retryAgeMs: BigInt(retryAgeMs) };
        expect(put).toEqual(Buffer.from(PutRequest.encode(wire).finish()));
        expect(codec.decodePutRequest(put)).toEqual({ id: 0, action: codec.PUT, key, value, ...options });

        const position = { epoch: BigInt(epoch), offset: BigInt(offset) };
        const got = codec.encodeGetResponse({ value: key, epoch, offset, stale, atOffset });
        expect(got).toEqual(Buffer.from(GetResponse.encode({ value: key, ...position, stale, atOffset: BigInt(atOffset) }).finish()));
        expect(codec.decodeValue(got)).toEqual({ value: key, epoch, offset, stale, atOffset });
        expect(codec.encodePutResponse({ epoch, offset })).toEqual(Buffer.from(PutResponse.encode(position).finish()));
      }),
    );
  });

  it('passes over fields that it does not know', () => {
    const unknown = Buffer.from([0xf8, 0x06, 0x05, 0xfa, 0x06, 0x02, 1, 2, 0xf9, 0x06, 1, 2, 3, 4, 5, 6, 7, 8, 0xfd, 0x06, 1, 2, 3, 4]);
    const known = codec.encodePutRequest(Buffer.from('k'), Buffer.from('v'));
    expect(codec.decodePutRequest(Buffer.concat([unknown, known, unknown]))).toMatchObject({
      key: Buffer.from('k'),
      value: Buffer.from('v'),
    });
  });

  it('answers any bytes with a value or INVALID_ARGUMENT, and reads nothing beyond them', () => {
    const decoders = [codec.decodePipeRequests, codec.decodePipeResponses, codec.decodeGetRequest, codec.decodePutRequest, codec.decodeValue];
    const oneOrTheOther = (noise: Buffer, decode: (bytes: Buffer) => unknown): void => {
      try {
        expect(decode(noise)).toBeDefined();
      } catch (thrown) {
        expect(thrown).toBeInstanceOf(AppError);
        expect((thrown as AppError).code).toBe('INVALID_ARGUMENT');
      }
    };
    fc.assert(
      fc.property(bytes, fc.constantFrom(...decoders), (noise, decode) => {
        oneOrTheOther(noise, decode);
      }),
      { numRuns: 2000 },
    );
    fc.assert(
      fc.property(fc.array(request, { minLength: 1, maxLength: 3 }), fc.nat(400), fc.nat(255), (requests, at, byte) => {
        const damaged = codec.encodePipeRequests(requests);
        damaged[at % damaged.length] = byte;
        oneOrTheOther(damaged, codec.decodePipeRequests);
        oneOrTheOther(damaged.subarray(0, at % damaged.length), codec.decodePipeRequests);
      }),
    );
  });

  it('does not let a nested message reach into the next one', () => {
    // The first request says its key has 5 bytes, but is only 4 bytes long itself.
    const overlapping = Buffer.from([0x0a, 0x04, 0x1a, 0x05, 1, 2, 0x0a, 0x02, 0x08, 0x01]);
    expect(() => codec.decodePipeRequests(overlapping)).toThrow(/reaches beyond its message/);
  });
});
