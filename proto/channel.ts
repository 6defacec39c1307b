/** The options of every gRPC channel and server; they stand in runtime/, which makes the servers. */
export { channelOptions, type KeepaliveOptions, MESSAGE_BYTES_MAX, serverOptions } from '../runtime/grpc-options.js';
