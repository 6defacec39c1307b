/* What a service needs to be sharded, and what a proxy needs to find it. */
export type * from './service.js';
export { type EpochFences, memoryFences } from './fences.js';
export { type TermFence, memoryTermFence } from './terms.js';
export type { CommandOutcome, RangeletHooks, RangeletOptions, RestoredRange } from './options.js';
export { type CommandAnswer, type CommandRequest, type RangeChange, Rangelet } from './rangelet.js';
export type { LinkEvent, LinkTimes, RangesTransport } from './mirror-link.js';
export { type DiscoveredNode, Mirror, type MirrorOptions, type MirroredNode, type MirroredRange, OwnerMap } from './mirror.js';
export { MirroredOwners } from './mirrored-owners.js';
export { type GrpcRangesOptions, grpcRanges } from './mirror-grpc.js';
export type { Claim, Owner } from './owners.js';
