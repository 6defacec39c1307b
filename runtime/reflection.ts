import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import { BinaryReader } from '@bufbuild/protobuf/wire';
import type * as grpc from '@grpc/grpc-js';
import type { ReflectionService } from '@grpc/reflection';

/** The compiled descriptions of our services, which the build copies beside the generated stubs. */
export const DEFAULT_IMAGE = fileURLToPath(new URL('../proto/gen/image.binpb', import.meta.url));

type PackageDefinition = ConstructorParameters<typeof ReflectionService>[0];

interface Loaded {
  readonly definition: grpc.ServiceDefinition;
  readonly implementation: grpc.UntypedServiceImplementation;
}

const METHOD = 'ServerReflectionInfo';

/**
 * Adds gRPC server reflection, in both of its versions. The library, its parsers and
 * the image are loaded by the first call: most processes are never asked.
 */
export function addReflection(server: grpc.Server, options: { readonly imagePath: string; readonly services: () => readonly string[] }): void {
  let loaded: ReadonlyMap<string, Loaded> | undefined;
  for (const version of ['v1', 'v1alpha']) {
    const service = `grpc.reflection.${version}.ServerReflection`;
    const load = (): Loaded => {
      loaded ??= loadReflection(options.imagePath, options.services());
      const found = loaded.get(service);
      if (!found) throw new Error(`@grpc/reflection does not implement ${service}`);
      return found;
    };
    server.addService(lazyDefinition(service, load), {
      [METHOD]: (call: grpc.ServerDuplexStream<unknown, unknown>) => {
        (load().implementation[METHOD] as grpc.handleBidiStreamingCall<unknown, unknown>)(call);
      },
    });
  }
}

function lazyDefinition(service: string, load: () => Loaded): grpc.ServiceDefinition {
  const method = (): grpc.MethodDefinition<unknown, unknown> => load().definition[METHOD] as grpc.MethodDefinition<unknown, unknown>;
  return {
    [METHOD]: {
      path: `/${service}/${METHOD}`,
      requestStream: true,
      responseStream: true,
      requestSerialize: (value: unknown) => method().requestSerialize(value),
      requestDeserialize: (bytes: Buffer) => method().requestDeserialize(bytes),
      responseSerialize: (value: unknown) => method().responseSerialize(value),
      responseDeserialize: (bytes: Buffer) => method().responseDeserialize(bytes),
    },
  };
}

function loadReflection(imagePath: string, services: readonly string[]): ReadonlyMap<string, Loaded> {
  const library = createRequire(import.meta.url)('@grpc/reflection') as { ReflectionService: typeof ReflectionService };
  // All that the library reads of a package are the encoded descriptions of its files.
  const root = { image: { fileDescriptorProtos: filesOf(readFileSync(imagePath)) } } as unknown as PackageDefinition;
  const loaded = new Map<string, Loaded>();
  new library.ReflectionService(root, { services: [...services] }).addToServer({
    addService: (definition, implementation) => {
      const path = Object.values(definition)[0]?.path ?? '';
      loaded.set(path.split('/')[1] ?? '', { definition, implementation });
    },
  });
  return loaded;
}

/** The `file` entries of a FileDescriptorSet, each still encoded. */
export function filesOf(image: Uint8Array): Buffer[] {
  const reader = new BinaryReader(image);
  const files: Buffer[] = [];
  while (reader.pos < reader.len) {
    const [field, wireType] = reader.tag();
    if (field === 1) files.push(Buffer.from(reader.bytes()));
    else reader.skip(wireType);
  }
  return files;
}
