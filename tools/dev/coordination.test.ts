import { createServer, type Server } from 'node:http';
import { afterEach, describe, expect, it } from 'vitest';
import { checkChoice, chooseCoordination, consulAddress, probeConsul, type Probe } from './coordination.js';

const planned = [{ name: 'controller.1', entry: 'controller', command: '', port: 5000, dataDir: '' }];

const agent: Probe = () => Promise.resolve({ agent: true });
const none: Probe = () => Promise.resolve({ agent: false, reason: 'connection refused' });
const unasked: Probe = () => Promise.reject(new Error('not asked when it is decided by hand'));

describe('chooseCoordination', () => {
  it('takes Consul where an agent answers', async () => {
    expect(await chooseCoordination({ choice: undefined, env: {}, planned, probe: agent })).toEqual({
      ok: true,
      value: {
        controller: 'consul://localhost:8500',
        others: 'consul://localhost:8500',
        because: 'coordination is consul://localhost:8500: an agent answers at localhost:8500',
      },
    });
    const env = { CONSUL_HTTP_ADDR: 'http://10.0.0.1:8501' };
    expect(await chooseCoordination({ choice: undefined, env, planned, probe: agent })).toMatchObject({
      value: {
        controller: 'consul://10.0.0.1:8501',
        because: 'coordination is consul://10.0.0.1:8501: an agent answers at CONSUL_HTTP_ADDR (10.0.0.1:8501)',
      },
    });
  });

  it('is embedded otherwise, and says why', async () => {
    expect(await chooseCoordination({ choice: undefined, env: {}, planned, probe: none })).toEqual({
      ok: true,
      value: {
        controller: 'embedded',
        others: 'embedded://localhost:5000',
        because: 'coordination is embedded in the controller: no Consul agent answers at localhost:8500 (connection refused)',
      },
    });
  });

  it('does by hand as it is told, without asking anybody', async () => {
    expect(await chooseCoordination({ choice: 'consul://c:1', env: {}, planned, probe: unasked })).toMatchObject({ value: { controller: 'consul://c:1', others: 'consul://c:1' } });
    expect(await chooseCoordination({ choice: 'embedded', env: {}, planned, probe: unasked })).toMatchObject({
      value: { controller: 'embedded', others: 'embedded://localhost:5000', because: 'coordination is embedded in the controller: as --coordination says' },
    });
  });

  it('needs Consul for several controllers, and says so', async () => {
    const two = [...planned, { name: 'controller.2', entry: 'controller', command: '', port: 5001, dataDir: '' }];
    const refused = await chooseCoordination({ choice: 'embedded', env: {}, planned: two, probe: unasked });
    expect(refused).toEqual({ ok: false, problems: [expect.stringContaining('2 controllers need Consul') as string] });
    expect(await chooseCoordination({ choice: undefined, env: {}, planned: two, probe: none })).toMatchObject({ ok: false });
    expect(await chooseCoordination({ choice: undefined, env: {}, planned: two, probe: agent })).toMatchObject({ ok: true });
  });

  it('needs a controller to be embedded in', async () => {
    expect(await chooseCoordination({ choice: 'embedded', env: {}, planned: [], probe: unasked })).toMatchObject({ ok: false });
    expect(await chooseCoordination({ choice: 'embedded://far:5000', env: {}, planned: [], probe: unasked })).toMatchObject({ value: { others: 'embedded://far:5000' } });
  });
});

describe('the ways to write it', () => {
  it.each([
    [undefined, 'localhost:8500'],
    ['', 'localhost:8500'],
    ['consul.local', 'consul.local:8500'],
    ['http://1.2.3.4:8501/', '1.2.3.4:8501'],
  ])('CONSUL_HTTP_ADDR=%s is %s', (text, address) => {
    expect(consulAddress(text)).toBe(address);
  });

  it('refuses what names no backend', () => {
    expect(['embedded', 'embedded://h:1', 'consul://h:1'].map(checkChoice)).toEqual([undefined, undefined, undefined]);
    expect(['', 'consul', 'etcd://h:1', 'localhost:8500'].every((choice) => checkChoice(choice) !== undefined)).toBe(true);
  });
});

describe('probeConsul', () => {
  let server: Server | undefined;
  afterEach(() => server?.close());

  async function answering(status: number | undefined): Promise<string> {
    server = createServer((_request, response) => {
      if (status !== undefined) response.writeHead(status).end('{}');
    });
    await new Promise<void>((resolve) => server?.listen(0, '127.0.0.1', resolve));
    return `127.0.0.1:${(server.address() as { port: number }).port}`;
  }

  it('knows an agent, also one that wants a token', async () => {
    expect(await probeConsul(await answering(200))).toEqual({ agent: true });
    server?.close();
    expect(await probeConsul(await answering(403))).toEqual({ agent: true });
  });

  it('says what else it found', async () => {
    expect(await probeConsul(await answering(404))).toEqual({ agent: false, reason: 'what answers there is none: status 404' });
    server?.close();
    const silent = await answering(undefined);
    expect(await probeConsul(silent)).toEqual({ agent: false, reason: 'no answer within 500 ms' });
    server?.closeAllConnections();
    await new Promise((resolve) => server?.close(resolve));
    expect(await probeConsul(silent)).toEqual({ agent: false, reason: 'connection refused' });
  });
});
