// Alerts as they come, in a few lines: `npm install && node subscribe.mjs BROKERS [COUNT]`.
import { Kafka, logLevel } from "kafkajs";

const [brokers, count = "-1"] = process.argv.slice(2);
let left = Number(count);
const kafka = new Kafka({ clientId: "example-node", brokers: brokers.split(","), logLevel: logLevel.ERROR });
const consumer = kafka.consumer({ groupId: "example-node", readUncommitted: false });
await consumer.connect();
await consumer.subscribe({ topics: ["alerts"], fromBeginning: true });
const done = new Promise((resolve) => {
  consumer.run({
    eachMessage: async ({ message }) => {
      if (left === 0) return;
      const alert = JSON.parse(message.value.toString());
      console.log(`${alert.severity} ${alert.alert_id}.${alert.revision} ${alert.title}`);
      if (--left === 0) resolve();
    },
  });
});
await done;
await consumer.disconnect();
