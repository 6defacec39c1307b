import { expect, it } from 'vitest';
import { decodeRecord } from './format.js';

it('reads the records of versions that knew no write ids', () => {
  const header = (flags: string): string => `${flags}000000000007` + '0001';
  const value = decodeRecord(3, Buffer.from(`${header('00')}6b7676`, 'hex'));
  expect(value).toEqual({ epoch: 7, offset: 3, key: Buffer.from('k'), value: Buffer.from('vv'), writeId: undefined, timeMs: undefined });
  expect(decodeRecord(4, Buffer.from(`${header('01')}6b`, 'hex'))).toMatchObject({ key: Buffer.from('k'), value: undefined });
});
