/**
 * The three state machines of the project, each as one table. The legality of a
 * step, the command that asks for it and the diagrams in docs/ come from here.
 */

/** What the controller wants of a range on a node. */
export type PlacementState = 'Pending' | 'Inactive' | 'Active' | 'Missing' | 'Dropped';

/** What the node itself says of a range. */
export type RemoteState =
  | 'Preparing'
  | 'Inactive'
  | 'Activating'
  | 'Active'
  | 'Deactivating'
  | 'Dropping'
  | 'NotFound';

/** Where a range stands in its life. */
export type RangeState = 'Active' | 'Subsuming' | 'Obsolete';

export type Command = 'Prepare' | 'Activate' | 'Deactivate' | 'Drop';

export interface RemoteTransition {
  readonly command: Command;
  readonly from: RemoteState;
  readonly via: RemoteState;
  readonly done: RemoteState;
  /** Where the range is after the service refused. */
  readonly failed: RemoteState;
}

/** The node's side: one row a command. NotFound is a range the node does not have. */
export const REMOTE_TRANSITIONS: readonly RemoteTransition[] = [
  { command: 'Prepare', from: 'NotFound', via: 'Preparing', done: 'Inactive', failed: 'NotFound' },
  { command: 'Activate', from: 'Inactive', via: 'Activating', done: 'Active', failed: 'Inactive' },
  { command: 'Deactivate', from: 'Active', via: 'Deactivating', done: 'Inactive', failed: 'Active' },
  { command: 'Drop', from: 'Inactive', via: 'Dropping', done: 'NotFound', failed: 'Inactive' },
];

export function remoteTransition(command: Command): RemoteTransition {
  const row = REMOTE_TRANSITIONS.find((t) => t.command === command);
  if (!row) throw new Error(`no transition for ${command}`);
  return row;
}

export interface PlacementTransition {
  readonly from: PlacementState;
  readonly to: PlacementState;
  readonly meaning: string;
}

/** The controller's side: every step a placement may take. */
export const PLACEMENT_TRANSITIONS: readonly PlacementTransition[] = [
  { from: 'Pending', to: 'Inactive', meaning: 'the node prepared it' },
  { from: 'Pending', to: 'Missing', meaning: 'the node is gone before it was ready' },
  { from: 'Pending', to: 'Dropped', meaning: 'given up before it was ready' },
  { from: 'Inactive', to: 'Active', meaning: 'the node activated it' },
  { from: 'Inactive', to: 'Missing', meaning: 'the node is gone, or lost it' },
  { from: 'Inactive', to: 'Dropped', meaning: 'no longer wanted' },
  { from: 'Active', to: 'Inactive', meaning: 'the node deactivated it' },
  { from: 'Active', to: 'Missing', meaning: 'the node is gone, or lost it' },
  { from: 'Missing', to: 'Pending', meaning: 'the node is back and is preparing it' },
  { from: 'Missing', to: 'Inactive', meaning: 'the node is back with it' },
  { from: 'Missing', to: 'Active', meaning: 'the node is back and still serves it' },
  { from: 'Missing', to: 'Dropped', meaning: 'no longer wanted' },
];

export function canBecome(from: PlacementState, to: PlacementState): boolean {
  return PLACEMENT_TRANSITIONS.some((t) => t.from === from && t.to === to);
}
