package ringmq.clients;

import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Method;
import java.util.Arrays;
import java.util.HashMap;
import org.apache.rocketmq.client.MQAdmin;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageAccessor;

/** The places where the public API of the 4.9 and the 5.x client differ in source form. */
final class ClientVersion {
    private ClientVersion() {
    }

    /** 5.x wants attributes as a fourth argument, 4.9 has none. */
    static void createTopic(MQAdmin admin, String templateTopic, String topic, int queueCount) throws Exception {
        Method create = Arrays.stream(MQAdmin.class.getMethods())
            .filter(method -> method.getName().equals("createTopic"))
            .min((a, b) -> Integer.compare(a.getParameterCount(), b.getParameterCount()))
            .orElseThrow();
        if (create.getParameterCount() == 3) {
            call(create, admin, templateTopic, topic, queueCount);
        } else {
            call(create, admin, templateTopic, topic, queueCount, new HashMap<String, String>());
        }
    }

    /** The enum MessageModel moved from the common to the remoting package. */
    static void setBroadcasting(DefaultMQPushConsumer consumer) throws Exception {
        Method set = Arrays.stream(DefaultMQPushConsumer.class.getMethods())
            .filter(method -> method.getName().equals("setMessageModel"))
            .findAny().orElseThrow();
        Object broadcasting = Arrays.stream(set.getParameterTypes()[0].getEnumConstants())
            .filter(model -> model.toString().equals("BROADCASTING"))
            .findAny().orElseThrow();
        call(set, consumer, broadcasting);
    }

    /** 5.x has a setter, which sets a property. */
    static void delaySeconds(Message message, long seconds) throws Exception {
        time(message, "setDelayTimeSec", "TIMER_DELAY_SEC", seconds);
    }

    static void delayMilliseconds(Message message, long milliseconds) throws Exception {
        time(message, "setDelayTimeMs", "TIMER_DELAY_MS", milliseconds);
    }

    static void deliverAt(Message message, long milliseconds) throws Exception {
        time(message, "setDeliverTimeMs", "TIMER_DELIVER_MS", milliseconds);
    }

    private static void time(Message message, String setter, String property, long value) throws Exception {
        Method set = Arrays.stream(Message.class.getMethods()).filter(it -> it.getName().equals(setter)).findAny().orElse(null);
        if (set == null) {
            MessageAccessor.putProperty(message, property, Long.toString(value));
        } else {
            call(set, message, value);
        }
    }

    /** Records of topics of more than 127 bytes have a version of their own, which 5.x reads. */
    static boolean readsLongTopics() {
        try {
            Class.forName("org.apache.rocketmq.common.message.MessageVersion");
            return true;
        } catch (ClassNotFoundException e) {
            return false;
        }
    }

    static boolean canRecall() {
        return Arrays.stream(DefaultMQProducer.class.getMethods()).anyMatch(it -> it.getName().equals("recallMessage"));
    }

    /** null: there is none, or the client does not know of any. */
    static String recallHandle(SendResult result) throws Exception {
        return canRecall() ? (String) SendResult.class.getMethod("getRecallHandle").invoke(result) : null;
    }

    /** The id of the message that was recalled. */
    static String recall(DefaultMQProducer producer, String topic, String handle) throws Exception {
        Method recall = DefaultMQProducer.class.getMethod("recallMessage", String.class, String.class);
        try {
            return (String) recall.invoke(producer, topic, handle);
        } catch (InvocationTargetException e) {
            throw (Exception) e.getCause();
        }
    }

    private static void call(Method method, Object target, Object... arguments) throws Exception {
        try {
            method.invoke(target, arguments);
        } catch (InvocationTargetException e) {
            throw (Exception) e.getCause();
        }
    }
}
