import type { NodeIdent } from '../../model/range.js';
import { AppError } from '../../runtime/errors.js';

/** What operators want of a node. A node that nobody said anything of has none. */
export interface NodeWish {
  /** Its ranges are to leave, and it is given no new ones. */
  readonly drain: boolean;
  /** It is given no new ranges, and keeps those it has. */
  readonly cordon: boolean;
}

/** A node's new wish; one that wants nothing is not kept. */
export interface WishChange {
  readonly node: NodeIdent;
  readonly wish: NodeWish;
}

export const NO_WISH: NodeWish = { drain: false, cordon: false };

const FORMAT = 1;
/** Where the documents about nodes stand, beside those about ranges. */
export const NODE_DOCUMENTS = 'nodes/';

/** Idents are any text, and keys of documents are not. */
export function wishKey(node: NodeIdent): string {
  const plain = node.replace(/[^A-Za-z0-9.:-]/g, (char) => `_${char.charCodeAt(0).toString(16)}_`);
  return `${NODE_DOCUMENTS}${plain}`;
}

export function isEmptyWish(wish: NodeWish): boolean {
  return !wish.drain && !wish.cordon;
}

export function printWish({ node, wish }: WishChange): string {
  return JSON.stringify({ format: FORMAT, node, drain: wish.drain, cordon: wish.cordon });
}

/** Throws DATA_LOSS for a damaged document, FAILED_PRECONDITION for one from a newer version. */
export function parseWish(key: string, text: string): WishChange {
  const json = readObject(text);
  if (!json) throw damaged(key, 'it is not a JSON object');
  const { format, node, drain, cordon } = json;
  if (typeof format !== 'number') throw damaged(key, 'format is not a number');
  if (format > FORMAT) {
    throw new AppError('FAILED_PRECONDITION', `the document ${JSON.stringify(key)} is in format ${format}, and this version reads up to ${FORMAT}: run the newer version`);
  }
  if (typeof node !== 'string' || wishKey(node) !== key) throw damaged(key, `it is about node ${String(node)}`);
  if (typeof drain !== 'boolean') throw damaged(key, 'drain is not true or false');
  if (typeof cordon !== 'boolean') throw damaged(key, 'cordon is not true or false');
  return { node, wish: { drain, cordon } };
}

function readObject(text: string): Record<string, unknown> | undefined {
  try {
    const json: unknown = JSON.parse(text);
    return typeof json === 'object' && json !== null && !Array.isArray(json) ? (json as Record<string, unknown>) : undefined;
  } catch {
    return undefined;
  }
}

function damaged(key: string, problem: string): AppError {
  return new AppError('DATA_LOSS', `the document ${JSON.stringify(key)} of the keyspace is damaged: ${problem}`);
}
