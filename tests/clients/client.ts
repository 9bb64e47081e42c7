// A delivery system in TypeScript, on the generated contract: node client.js BROKER PREFIX CLIENT_ID.
//
// It sends a client's consents and a good score, and prints the letter of thanks; has that letter bounced twice, and
// prints what follows; reports that the client could not be reached, complains, and prints the alert.
import { Kafka, logLevel, Partitioners } from "kafkajs";
import { AlertAction } from "./contract/AlertAction"; // generated: docs/contract.md
import { Complaint } from "./contract/Complaint";
import { Feedback } from "./contract/Feedback";
import { MessageAction } from "./contract/MessageAction";
import { Outcome } from "./contract/Outcome";
import { Profile } from "./contract/Profile";
import { Receipt } from "./contract/Receipt";
import { TaskAction } from "./contract/TaskAction";

type Inbound = { profiles: Profile; feedback: Feedback; receipts: Receipt; outcomes: Outcome; complaints: Complaint };
type Action = AlertAction | MessageAction | TaskAction;

const [broker, prefix, clientId] = process.argv.slice(2);
const kafka = new Kafka({ brokers: [broker], clientId: "typescript-client", logLevel: logLevel.ERROR });
// On Apache Kafka: idempotent: true. The tests' broker in memory does not name a controller, as kafkajs asks for it.
const producer = kafka.producer({ createPartitioner: Partitioners.DefaultPartitioner, maxInFlightRequests: 1 });
const consumer = kafka.consumer({ groupId: "typescript-client", readUncommitted: false });
const read: Action[] = [];

async function send<Topic extends keyof Inbound>(topic: Topic, record: Inbound[Topic]): Promise<void> {
  await producer.send({ topic: prefix + topic, messages: [{ key: clientId, value: JSON.stringify(record) }] });
}

const event = (number: number) => ({
  event_id: `typescript-${number}`,
  client_id: clientId,
  time: new Date().toISOString(),
});

async function actionOf(ruleId: string): Promise<Action> {
  for (;;) {
    const action = read.find((one) => one.client_id === clientId && one.rule_id === ruleId);
    if (action) {
      console.log(JSON.stringify(action));
      return action;
    }
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

async function main(): Promise<void> {
  await producer.connect();
  await consumer.connect();
  await consumer.subscribe({ topics: ["alerts", "messages", "tasks"].map((topic) => prefix + topic), fromBeginning: true });
  await consumer.run({
    eachMessage: async ({ message }) => {
      read.push(JSON.parse(message.value!.toString()) as Action);
    },
  });
  const hours = 12 - new Date().getUTCHours(); // the client is where it is noon: at night the letter would wait
  const time_zone = `Etc/GMT${hours > 0 ? "-" : "+"}${Math.abs(hours)}`;
  await send("profiles", { ...event(1), type: "individual", time_zone, consents: { app_push: true, email: true } });
  await send("feedback", { ...event(2), action_id: "branch-2", kind: "survey", nps: 9, answers: ["advice"] });
  const letter = await actionOf("promoter-thanks");
  if (letter.kind !== "message") throw new Error(letter.kind);
  const answered = { action_id: letter.id, rule_id: letter.rule_id, kind: letter.kind };
  await send("receipts", { ...event(3), ...answered, channel: "email", status: "bounced" });
  await send("receipts", { ...event(4), ...answered, channel: "email", status: "bounced" });
  const task = await actionOf("contact-bounces");
  await send("outcomes", { ...event(5), action_id: task.id, rule_id: task.rule_id, kind: task.kind, status: "not_reached" });
  await send("complaints", { ...event(6), complaint_id: "K-2", status: "opened", category: "fees", severity: "critical" });
  await actionOf("complaint-grave");
  await consumer.disconnect();
  await producer.disconnect();
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
