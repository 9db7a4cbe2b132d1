package ringmq.clients;

import java.lang.reflect.Method;
import java.util.Arrays;
import java.util.HashSet;
import java.util.Set;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.impl.MQClientAPIImpl;
import org.apache.rocketmq.client.impl.factory.MQClientInstance;
import org.apache.rocketmq.common.message.MessageQueue;

/** The requests LOCK_BATCH_MQ and UNLOCK_BATCH_MQ of one client id. Their bodies changed packages between 4.9 and 5.x. */
final class QueueLocks {
    private static final long TIMEOUT_MS = 15_000;

    private final DefaultMQPullConsumer connection;
    private final String group;
    private final String clientId;

    QueueLocks(DefaultMQPullConsumer connection, String group, String clientId) {
        this.connection = connection;
        this.group = group;
        this.clientId = clientId;
    }

    /** Returns those that are now locked by this client. */
    @SuppressWarnings("unchecked")
    Set<MessageQueue> lock(MessageQueue... queues) throws Exception {
        Method lock = method("lockBatchMQ");
        return (Set<MessageQueue>) lock.invoke(api(), address(queues), body(lock, queues), TIMEOUT_MS);
    }

    void unlock(MessageQueue... queues) throws Exception {
        Method unlock = method("unlockBatchMQ");
        boolean oneway = false;
        unlock.invoke(api(), address(queues), body(unlock, queues), TIMEOUT_MS, oneway);
    }

    private MQClientInstance client() {
        return connection.getDefaultMQPullConsumerImpl().getRebalanceImpl().getmQClientFactory();
    }

    private MQClientAPIImpl api() {
        return client().getMQClientAPIImpl();
    }

    private String address(MessageQueue... queues) throws Exception {
        // Makes the client look for the broker. A request to an address that it does not know goes to the NameServer.
        connection.maxOffset(queues[0]);
        return client().findBrokerAddressInPublish(queues[0].getBrokerName());
    }

    private Object body(Method request, MessageQueue... queues) throws Exception {
        Class<?> type = request.getParameterTypes()[1];
        Object body = type.getConstructor().newInstance();
        type.getMethod("setConsumerGroup", String.class).invoke(body, group);
        type.getMethod("setClientId", String.class).invoke(body, clientId);
        type.getMethod("setMqSet", Set.class).invoke(body, new HashSet<>(Arrays.asList(queues)));
        return body;
    }

    private static Method method(String name) {
        return Arrays.stream(MQClientAPIImpl.class.getMethods()).filter(method -> method.getName().equals(name))
            .findAny().orElseThrow();
    }
}
