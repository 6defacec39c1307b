/**
 * The SDK: `connect` gives a client of a store. What it can do is told in `Client`
 * (sdk/api.ts), and shown in README.md.
 */
export { connect } from './sdk/connect.js';
export { KeyrangerError } from './sdk/api.js';
export type {
  BatchOperation,
  BatchResult,
  CallOptions,
  Change,
  Client,
  ConnectOptions,
  DeleteOptions,
  Entry,
  Expected,
  KeyLike,
  KeyrangerErrorCode,
  ScanOptions,
  Selection,
  SetSafeOptions,
  Value,
  ValueLike,
  Version,
  WatchEvent,
  WatchOptions,
  WriteResult,
} from './sdk/api.js';
