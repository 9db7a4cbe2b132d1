package ringmq.clients;

import static org.junit.jupiter.api.Assertions.assertEquals;

import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.TreeSet;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageAccessor;
import org.apache.rocketmq.common.message.MessageConst;
import org.apache.rocketmq.common.message.MessageExt;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.RegisterExtension;

/**
 * A client may write any property, the names that RocketMQ keeps for itself included: {@code MessageConst.STRING_HASH_SET}
 * only keeps applications from doing so by {@code putUserProperty}. What comes of each is Apache's answer: this test passes
 * with {@code --server apache}.
 */
@Tag("main")
class ReservedPropertiesTest {
    /** Those that make another kind of message: their own tests have them. */
    private static final List<String> OTHER_KINDS = List.of("TRAN_MSG", "TIMER_DELAY_SEC", "TIMER_DELAY_MS", "TIMER_DELIVER_MS",
        "TIMER_DEL_UNIQKEY", "INNER_MULTI_DISPATCH", "INNER_NUM", "__CRC32#", "__RMQ.TRANSIENT.", "__RMQ.TRANSIENT.TOPIC_SYS_FLAG",
        "__RMQ.TRANSIENT.GROUP_SYS_FLAG");

    /** What the broker writes over what it was given, or takes away; null: not there. */
    private static final Map<String, String> BROKERS_OWN = new HashMap<>();

    static {
        BROKERS_OWN.put("CLUSTER", "DefaultCluster");
        BROKERS_OWN.put("MSG_REGION", "DefaultRegion");
        BROKERS_OWN.put("TRACE_ON", "true");
        BROKERS_OWN.put("POP_CK", null);
    }

    /** Written by the client that pulls. */
    private static final List<String> PULLERS_OWN = List.of("MIN_OFFSET", "MAX_OFFSET");

    @RegisterExtension
    final Clients clients = new Clients();

    @Test
    void eachIsStoredAsTheClientWroteItOrAsTheServerMustHaveIt() throws Exception {
        String topic = clients.topic(1);
        List<String> names = names();
        for (String name : names) {
            Message message = Messages.of(topic, name);
            MessageAccessor.putProperty(message, name, valueOf(name));
            clients.producer().send(message);
        }
        Map<String, String> found = new TreeMap<>();
        for (MessageExt stored : clients.reader().readAll(topic, names.size())) {
            String name = Messages.text(stored);
            found.put(name, stored.getProperty(name));
        }
        Map<String, String> expected = new TreeMap<>();
        names.forEach(name -> expected.put(name, stored(name)));
        assertEquals(expected, found);
    }

    /** Nothing pushes another one out. */
    @Test
    void allAtOnceComeBackTogether() throws Exception {
        String topic = clients.topic(1);
        Message message = Messages.of(topic, "many");
        Map<String, String> expected = new TreeMap<>();
        for (String name : names()) {
            if (!name.equals("DELAY")) {
                MessageAccessor.putProperty(message, name, valueOf(name));
                expected.put(name, stored(name));
            }
        }
        clients.producer().send(message);
        Map<String, String> properties = clients.reader().readAll(topic, 1).get(0).getProperties();
        Map<String, String> found = new TreeMap<>();
        expected.keySet().forEach(name -> found.put(name, properties.get(name)));
        assertEquals(expected, found);
    }

    private static List<String> names() {
        List<String> names = new ArrayList<>(new TreeSet<>(MessageConst.STRING_HASH_SET));
        names.removeAll(OTHER_KINDS);
        names.removeAll(PULLERS_OWN);
        return names;
    }

    private static String valueOf(String name) {
        switch (name) {
            case "DELAY":
                return "1";
            case "WAIT":
                return "true";
            default:
                return "7";
        }
    }

    private static String stored(String name) {
        return BROKERS_OWN.containsKey(name) ? BROKERS_OWN.get(name) : valueOf(name);
    }
}
