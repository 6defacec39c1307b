import type { IncomingHttpHeaders } from 'node:http';
import { type Condition, POSITIONS_MAX, type Position } from '../model/store.js';
import { Problem } from './problem.js';

/** An entity tag is the write that made the value: `"epoch-offset"`. */
export function etagOf({ epoch, offset }: Position): string {
  return `"${epoch}-${offset}"`;
}

interface Tags {
  readonly any: boolean;
  /** Those that can be ours; any other tag is of something that is not here. */
  readonly strong: readonly Position[];
  readonly weak: readonly Position[];
}

/** The condition of a write; undefined when its headers make none. */
export function writeCondition(headers: IncomingHttpHeaders): Condition | undefined {
  const match = tagsOf(headers['if-match'], 'If-Match');
  const noneMatch = tagsOf(headers['if-none-match'], 'If-None-Match');
  if (match && noneMatch) throw new Problem(400, 'bad_condition', 'If-Match and If-None-Match do not go together: give one of them');
  if (match) return match.any ? { is: 'present' } : { is: 'at', positions: match.strong };
  if (noneMatch) return noneMatch.any ? { is: 'absent' } : { is: 'notAt', positions: [...noneMatch.strong, ...noneMatch.weak] };
  return undefined;
}

/** What the conditions of a read make of what is there (RFC 9110, 13.2.2). */
export function readCondition(headers: IncomingHttpHeaders, current: Position | undefined): 'answer' | 'notModified' | 'failed' {
  const match = tagsOf(headers['if-match'], 'If-Match');
  if (match && !(current && (match.any || has(match.strong, current)))) return 'failed';
  const noneMatch = tagsOf(headers['if-none-match'], 'If-None-Match');
  if (noneMatch && current && (noneMatch.any || has(noneMatch.strong, current) || has(noneMatch.weak, current))) return 'notModified';
  return 'answer';
}

function has(positions: readonly Position[], { epoch, offset }: Position): boolean {
  return positions.some((position) => position.epoch === epoch && position.offset === offset);
}

const TAG = /^(W\/)?"([\x21\x23-\x7e\x80-\xff]*)"$/;

function tagsOf(header: string | undefined, name: string): Tags | undefined {
  if (header === undefined) return undefined;
  const text = header.trim();
  if (text === '*') return { any: true, strong: [], weak: [] };
  const tags = text.split(',').map((tag) => tag.trim()).filter((tag) => tag !== '');
  if (tags.length === 0 || tags.length > POSITIONS_MAX) throw new Problem(400, 'bad_condition', `${name}: give * or 1 to ${POSITIONS_MAX} tags, such as "3-41"`);
  const strong: Position[] = [];
  const weak: Position[] = [];
  for (const tag of tags) {
    const match = TAG.exec(tag);
    if (!match) throw new Problem(400, 'bad_condition', `${name}: ${tag} is no entity tag; one is in double quotes, such as "3-41", as the header ETag gave it`);
    const position = positionOf(match[2] ?? '');
    if (position) (match[1] === undefined ? strong : weak).push(position);
  }
  return { any: false, strong, weak };
}

function positionOf(tag: string): Position | undefined {
  const [, epoch, offset] = /^(\d{1,15})-(\d{1,15})$/.exec(tag) ?? [];
  return epoch === undefined || offset === undefined ? undefined : { epoch: Number(epoch), offset: Number(offset) };
}
