// A round trip with MQTT.js, over the URL and in the version that the arguments name; prints what came back.

import mqtt from 'mqtt'

const [url, version] = process.argv.slice(2)
const client = await mqtt.connectAsync(url, { protocolVersion: Number(version), reconnectPeriod: 0 })
const properties = version === '5' ? { properties: { userProperties: { a: '1' } } } : {}
const arrived = new Promise((resolve) => client.on('message', (topic, payload, packet) => resolve([topic, payload, packet])))
await client.subscribeAsync('js/+', { qos: 2 })
await client.publishAsync('js/x', 'hello', { qos: 2, ...properties })
const [topic, payload, packet] = await arrived
console.log(JSON.stringify({ topic, payload: payload.toString(), qos: packet.qos, user: packet.properties?.userProperties?.a }))
await client.endAsync()
