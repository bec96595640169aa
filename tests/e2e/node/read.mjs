// Browse and read a vPLC with node-opcua: `node read.mjs opc.tcp://host:4840 level valve`.
// Prints one JSON object: variable's browse name → value, and what writing to the first one answers.
import { AttributeIds, MessageSecurityMode, NodeClass, OPCUAClient, SecurityPolicy, coerceNodeId } from "node-opcua-client";

const [url, ...wanted] = process.argv.slice(2);
const client = OPCUAClient.create({
  endpointMustExist: false,
  securityMode: MessageSecurityMode.None,
  securityPolicy: SecurityPolicy.None,
  connectionStrategy: { maxRetry: 3, initialDelay: 500 },
});
await client.connect(url);
const session = await client.createSession();
const found = {};
let own = null;
const waiting = [coerceNodeId("i=85")];
let seen = 0;
while (waiting.length && seen < 5000) {
  const nodeId = waiting.shift();
  const browsed = await session.browse({ nodeId, browseDirection: 0, includeSubtypes: true, referenceTypeId: "i=33", resultMask: 63 });
  for (const reference of browsed.references ?? []) {
    seen += 1;
    if (reference.nodeId.namespace === 0) continue;
    if (reference.nodeClass === NodeClass.Variable) {
      const name = reference.browseName.name;
      if (wanted.some((word) => name.toLowerCase().endsWith(word.toLowerCase()))) {
        const value = await session.read({ nodeId: reference.nodeId, attributeId: AttributeIds.Value });
        own ??= { dataType: value.value.dataType, value: value.value.value };
        found[name] = { id: reference.nodeId.toString(), value: value.value.value, status: value.statusCode.name };
      }
    } else {
      waiting.push(reference.nodeId);
    }
  }
}
const first = Object.values(found)[0];
let write = null;
if (first) {
  const answer = await session.write({ nodeId: first.id, attributeId: AttributeIds.Value, value: { value: own } });
  write = answer.name;
}
await session.close();
await client.disconnect();
console.log(JSON.stringify({ found, write }));
