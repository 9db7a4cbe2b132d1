package ringmq.clients;

import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Method;
import java.util.Arrays;
import java.util.HashMap;
import org.apache.rocketmq.client.MQAdmin;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;

/** The two places where the public API of the 4.9 and the 5.x client differ in source form. */
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

    private static void call(Method method, Object target, Object... arguments) throws Exception {
        try {
            method.invoke(target, arguments);
        } catch (InvocationTargetException e) {
            throw (Exception) e.getCause();
        }
    }
}
