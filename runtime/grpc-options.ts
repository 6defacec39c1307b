import type { ChannelOptions } from '@grpc/grpc-js';

/** Values go to 8 MiB; a message carries one and its frame, or a batch cut well below this. */
export const MESSAGE_BYTES_MAX = 16 * 1024 * 1024;

export interface KeepaliveOptions {
  /** How long a connection with calls on it may be silent before it is asked for a sign of life. */
  readonly keepaliveMs?: number;
  /** How long the peer has to answer; then every call on the connection fails with UNAVAILABLE. */
  readonly keepaliveTimeoutMs?: number;
}

/**
 * How our processes dial each other. Keepalive finds a peer that is frozen or cut
 * off, which TCP alone takes minutes to notice; it is patient, because a peer that is
 * only busy answers late, and a connection cut off leaves writes of unknown outcome. (A Go peer may ask for fewer pings;
 * grpc-js then doubles the time by itself.) Retries are the proxy's and the SDK's
 * own business, so the library's retry buffers stay off the hot path.
 */
export function channelOptions(options: KeepaliveOptions = {}): ChannelOptions {
  return {
    'grpc.max_send_message_length': MESSAGE_BYTES_MAX,
    'grpc.max_receive_message_length': MESSAGE_BYTES_MAX,
    'grpc.keepalive_time_ms': options.keepaliveMs ?? 2000,
    'grpc.keepalive_timeout_ms': options.keepaliveTimeoutMs ?? 5000,
    'grpc.keepalive_permit_without_calls': 0,
    'grpc.initial_reconnect_backoff_ms': 100,
    'grpc.max_reconnect_backoff_ms': 1000,
    // The bytes a stream may have under way; the default of 64 KiB starves a copy over a real network.
    'grpc-node.flow_control_window': 1024 * 1024,
    'grpc.service_config_disable_resolution': 1,
    'grpc.enable_retries': 0,
    'grpc.enable_channelz': 0,
  };
}

/** How our processes listen. The keepalive finds callers that vanished without a word. */
export function serverOptions(): ChannelOptions {
  return {
    'grpc.max_send_message_length': MESSAGE_BYTES_MAX,
    'grpc.max_receive_message_length': MESSAGE_BYTES_MAX,
    'grpc.keepalive_time_ms': 10_000,
    'grpc.keepalive_timeout_ms': 5000,
    'grpc.max_concurrent_streams': 10_000,
    'grpc.enable_channelz': 0,
  };
}
