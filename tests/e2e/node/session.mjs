// What an application does with a vPLC over an encrypted channel, by node-opcua: `node session.mjs JOB.json`.
// JOB: {url, certificate, key, applicationUri, pki, trust, user, password, steps: [...]}; steps are
//   {browse: id} {read: id, attribute?} {write: id, type, value} {subscribe: [ids], changes: n} {call: [object, method]}
// Prints one JSON object: {answers: [...]} or {refused: "…"}.
import { readFileSync } from "node:fs";
import {
  AttributeIds, ClientSubscription, DataType, MessageSecurityMode, OPCUAClient, SecurityPolicy, TimestampsToReturn, UserTokenType,
} from "node-opcua-client";
import { OPCUACertificateManager } from "node-opcua-certificate-manager";

const job = JSON.parse(readFileSync(process.argv[2], "utf8"));
const manager = new OPCUACertificateManager({ rootFolder: job.pki, automaticallyAcceptUnknownCertificate: false });
await manager.initialize();
if (job.trust) await manager.trustCertificate(readFileSync(job.trust));
const client = OPCUAClient.create({
  applicationUri: job.applicationUri,
  certificateFile: job.certificate,
  privateKeyFile: job.key,
  clientCertificateManager: manager,
  endpointMustExist: true,
  securityMode: MessageSecurityMode[job.mode ?? "SignAndEncrypt"],
  securityPolicy: SecurityPolicy[job.policy ?? "Basic256Sha256"],
  connectionStrategy: { maxRetry: 0, initialDelay: 100 },
});

async function changes(session, ids, wanted) {
  const subscription = await ClientSubscription.create(session, {
    requestedPublishingInterval: 100, requestedLifetimeCount: 1000, requestedMaxKeepAliveCount: 10,
    maxNotificationsPerPublish: 0, publishingEnabled: true, priority: 1,
  });
  const seen = Object.fromEntries(ids.map((id) => [id, []]));
  await new Promise((resolve, reject) => {
    const limit = setTimeout(() => reject(new Error(`changes not seen: ${JSON.stringify(seen)}`)), 60000);
    const look = (id, value) => {
      seen[id].push({ value: value.value.value, status: value.statusCode.name, stamped: Boolean(value.sourceTimestamp) });
      if (ids.every((one) => seen[one].length >= wanted)) {
        clearTimeout(limit);
        resolve();
      }
    };
    for (const id of ids) {
      subscription
        .monitor({ nodeId: id, attributeId: AttributeIds.Value }, { samplingInterval: 100, queueSize: 10, discardOldest: true }, TimestampsToReturn.Both)
        .then((item) => item.on("changed", (value) => look(id, value)), reject);
    }
  });
  await subscription.terminate();
  return seen;
}

async function answer(session, step) {
  if (step.browse) {
    const result = await session.browse({ nodeId: step.browse, browseDirection: 0, includeSubtypes: true, referenceTypeId: "i=33", resultMask: 63 });
    return (result.references ?? []).map((one) => ({
      id: one.nodeId.toString(), name: one.browseName.toString(), reference: one.referenceTypeId.toString(), type: one.typeDefinition.toString(),
    }));
  }
  if (step.read) {
    const value = await session.read({ nodeId: step.read, attributeId: AttributeIds[step.attribute ?? "Value"] });
    const found = value.value.value;
    return { value: found?.text ?? found, status: value.statusCode.name };
  }
  if (step.write) {
    const status = await session.write({
      nodeId: step.write, attributeId: AttributeIds.Value, value: { value: { dataType: DataType[step.type], value: step.value } },
    });
    return status.name;
  }
  if (step.subscribe) return changes(session, step.subscribe, step.changes);
  const result = await session.call({ objectId: step.call[0], methodId: step.call[1], inputArguments: [] });
  return { status: result.statusCode.name, outputs: (result.outputArguments ?? []).map((one) => one.value) };
}

let told;
try {
  await client.connect(job.url);
  const session = await client.createSession({ type: UserTokenType.UserName, userName: job.user, password: job.password });
  const answers = [];
  for (const step of job.steps) answers.push(await answer(session, step));
  await session.close();
  told = { answers };
} catch (error) {
  told = { refused: String(error.message) };
}
await client.disconnect();
console.log(JSON.stringify(told));
process.exit(0);
