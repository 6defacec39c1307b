import { readFileSync } from 'node:fs';
import { type DescMessage, type JsonObject, type JsonValue, createFileRegistry, fromBinary, toJson } from '@bufbuild/protobuf';
import { FileDescriptorSetSchema } from '@bufbuild/protobuf/wkt';

export type { JsonObject, JsonValue } from '@bufbuild/protobuf';

/** Messages as Go's protojson writes them with UseProtoNames and EmitUnpopulated. */
export interface ProtoJson {
  /** `bytes` is an encoded message of the type, such as `ranger.NodesListResponse`. */
  of(typeName: string, bytes: Uint8Array): JsonValue;
}

/**
 * Reads the descriptions of all messages from the image that the build keeps beside
 * the stubs. That and the library take some 40 ms, so import this module only where
 * JSON is wanted.
 */
export function loadProtoJson(image: URL = new URL('./gen/image.binpb', import.meta.url)): ProtoJson {
  const registry = createFileRegistry(fromBinary(FileDescriptorSetSchema, readFileSync(image)));
  return {
    of(typeName, bytes) {
      const type = registry.getMessage(typeName);
      if (!type) throw new Error(`${typeName} is not described in proto/`);
      const json = toJson(type, fromBinary(type, bytes), { useProtoFieldName: true, alwaysEmitImplicit: true, registry });
      return withNulls(type, json);
    },
  };
}

/** protojson also writes a message that is not set, as null; this library leaves it out. */
function withNulls(type: DescMessage, json: JsonValue): JsonValue {
  if (!isObject(json)) return json;
  const out: JsonObject = {};
  for (const field of type.fields) {
    const value = json[field.name];
    if (value === undefined) {
      if (field.fieldKind === 'message' && !field.oneof) out[field.name] = null;
    } else if (field.message && Array.isArray(value)) {
      const { message } = field;
      out[field.name] = value.map((item) => withNulls(message, item));
    } else if (field.message && field.fieldKind === 'message') {
      out[field.name] = withNulls(field.message, value);
    } else {
      out[field.name] = value;
    }
  }
  return out;
}

function isObject(json: JsonValue): json is JsonObject {
  return typeof json === 'object' && json !== null && !Array.isArray(json);
}
