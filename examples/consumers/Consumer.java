// Deliver alerts, each once and none too late: java -cp "kafka-libs/*" Consumer.java BROKER TOPIC (kafka-clients, jackson-databind)
import com.fasterxml.jackson.databind.ObjectMapper;
import java.time.Duration;
import java.time.Instant;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;

class Consumer {
  public static void main(String[] args) throws Exception {
    // Only what was committed, which is not Java's default; and an action counts as read once it is delivered.
    Map<String, Object> settings = Map.of("bootstrap.servers", args[0], "group.id", "alerts-java",
        "auto.offset.reset", "earliest", "isolation.level", "read_committed", "enable.auto.commit", "false");
    var follows = Set.of("engage.care.v1", "engage.retraction.v1"); // not actions: they remind of one, or take it back
    var delivered = new HashSet<String>(); // keep the ids where they outlive this process
    var json = new ObjectMapper();
    var bytes = new ByteArrayDeserializer();
    try (var consumer = new KafkaConsumer<byte[], byte[]>(settings, bytes, bytes)) {
      consumer.subscribe(List.of(args[1]));
      while (true) {
        for (var record : consumer.poll(Duration.ofSeconds(1))) {
          var type = record.headers().lastHeader("ce_type");
          if (type != null && follows.contains(new String(type.value())))
            continue;
          var action = json.readTree(record.value());
          boolean late = Instant.parse(action.get("expires_at").asText()).isBefore(Instant.now());
          if (!late && delivered.add(action.get("id").asText()))
            System.out.println(action.get("client_id").asText() + ": " + action.get("title").asText());
        }
        consumer.commitSync();
      }
    }
  }
}
