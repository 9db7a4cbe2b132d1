package clients

import (
	"fmt"
	"sync"
	"testing"

	rocketmq "github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
)

func TestOneConsumerGetsEverythingExactlyOnce(t *testing.T) {
	queues := newTopic(t, 8)
	topic := queues[0].Topic
	to := newProducer(t)
	texts := numbered("once", 1000)
	sendAll(t, to, topic, texts[:500])
	var inbox inbox
	reader := consume(t, name("group"), topic, inbox.accept)
	sendAll(t, to, topic, texts[500:])
	inbox.awaitCount(t, len(texts))
	check(t, reader.Shutdown())
	equal(t, "delivered", texts, inbox.texts(""))
}

func TestTwoConsumersShareTheQueuesAndOneTakesOverWhenTheOtherLeaves(t *testing.T) {
	t.Parallel()
	queues := newTopic(t, 8)
	topic, group := queues[0].Topic, name("group")
	to := newProducer(t)
	var staying, leaving inbox
	consume(t, group, topic, staying.accept)
	leaver := consume(t, group, topic, leaving.accept)
	awaitShares(t, to, queues, &staying, &leaving, 4)

	shared := numbered("shared", 400)
	sendAll(t, to, topic, shared)
	await(t, "400 messages delivered", func() bool { return len(staying.texts("shared"))+len(leaving.texts("shared")) >= 400 })
	check(t, leaver.Shutdown())
	awaitShares(t, to, queues, &staying, &leaving, 8)
	alone := numbered("alone", 400)
	sendAll(t, to, topic, alone)
	await(t, "400 more delivered to one", func() bool { return len(staying.texts("alone")) >= 400 })
	equal(t, "delivered while there were two", shared, merged(staying.texts("shared"), leaving.texts("shared")))
	equal(t, "delivered to the one that stayed", alone, staying.texts("alone"))
	equal(t, "delivered to the one that left", nil, leaving.texts("alone"))
}

func TestBroadcastReachesEveryConsumer(t *testing.T) {
	queues := newTopic(t, 4)
	topic, group := queues[0].Topic, name("group")
	inboxes := make([]inbox, 2)
	for i := range inboxes {
		consume(t, group, topic, inboxes[i].accept, consumer.WithConsumerModel(consumer.BroadCasting))
	}
	texts := numbered("broadcast", 200)
	sendAll(t, newProducer(t), topic, texts)
	for i := range inboxes {
		inboxes[i].awaitCount(t, len(texts))
		equal(t, fmt.Sprint("consumer ", i), texts, inboxes[i].texts(""))
	}
}

func TestTagExpressionDeliversOnlyTheseTags(t *testing.T) {
	queue := newTopic(t, 1)[0]
	to := newProducer(t)
	for i, text := range numbered("tags", 100) {
		message := primitive.NewMessage(queue.Topic, []byte(text)).WithTag(fmt.Sprint("Tag", i%4))
		_, err := to.SendSync(background, message)
		check(t, err)
	}
	var expected []string
	for i, text := range numbered("tags", 100) {
		if i%4 == 1 || i%4 == 3 {
			expected = append(expected, text)
		}
	}
	var inbox inbox
	reader, err := rocketmq.NewPushConsumer(consumer.WithNameServer(namesrv()), consumer.WithGroupName(name("group")),
		consumer.WithInstance(name("instance")), consumer.WithConsumeFromWhere(consumer.ConsumeFromFirstOffset))
	check(t, err)
	check(t, reader.Subscribe(queue.Topic, consumer.MessageSelector{Type: consumer.TAG, Expression: "Tag1 || Tag3"}, inbox.each))
	check(t, reader.Start())
	// The last message has one of these tags: what comes before it in the queue has been decided on.
	inbox.awaitCount(t, len(expected))
	check(t, reader.Shutdown())
	equal(t, "delivered", expected, inbox.texts(""))
}

func TestSqlExpressionDeliversOnlyWhatItTakes(t *testing.T) {
	queue := newTopic(t, 1)[0]
	to := newProducer(t)
	var expected []string
	for i, text := range numbered("sql", 200) {
		message := primitive.NewMessage(queue.Topic, []byte(text)).WithTag(fmt.Sprint("Tag", i%4))
		message.WithProperty("n", fmt.Sprint(i))
		if i%2 == 0 {
			message.WithProperty("half", "even")
		}
		if 100 <= i && i <= 199 && i%4 == 3 || i == 42 {
			expected = append(expected, text)
		}
		_, err := to.SendSync(background, message)
		check(t, err)
	}
	var inbox inbox
	reader, err := rocketmq.NewPushConsumer(consumer.WithNameServer(namesrv()), consumer.WithGroupName(name("group")),
		consumer.WithInstance(name("instance")), consumer.WithConsumeFromWhere(consumer.ConsumeFromFirstOffset))
	check(t, err)
	sql := "n BETWEEN 100 AND 199 AND TAGS IN ('Tag3') AND half IS NULL OR n = 42 AND half STARTSWITH 'ev'"
	check(t, reader.Subscribe(queue.Topic, consumer.MessageSelector{Type: consumer.SQL92, Expression: sql}, inbox.each))
	check(t, reader.Start())
	// The last message is one of these: what comes before it in the queue has been decided on.
	inbox.awaitCount(t, len(expected))
	check(t, reader.Shutdown())
	equal(t, "delivered", expected, inbox.texts(""))
}

func TestFailedMessageComesBack(t *testing.T) {
	t.Parallel()
	queue := newTopic(t, 1)[0]
	var lock sync.Mutex
	var attempts []string
	consume(t, name("group"), queue.Topic, func(message *primitive.MessageExt) consumer.ConsumeResult {
		lock.Lock()
		defer lock.Unlock()
		attempts = append(attempts, fmt.Sprintf("%s, attempt %d, %s, %s", message.Topic, message.ReconsumeTimes, message.Body, message.GetTags()))
		if message.ReconsumeTimes == 0 {
			return consumer.ConsumeRetryLater
		}
		return consumer.ConsumeSuccess
	})
	_, err := newProducer(t).SendSync(background, primitive.NewMessage(queue.Topic, []byte("fails")).WithTag("TagA"))
	check(t, err)
	await(t, "two attempts", func() bool {
		lock.Lock()
		defer lock.Unlock()
		return len(attempts) >= 2
	})
	lock.Lock()
	defer lock.Unlock()
	equal(t, "attempts", []string{queue.Topic + ", attempt 0, fails, TagA", queue.Topic + ", attempt 1, fails, TagA"}, attempts)
}

func TestManyMessagesOneByOne(t *testing.T) {
	const perQueue = 2500
	queues := newTopic(t, 4)
	var senders sync.WaitGroup
	for _, one := range queues {
		queue, to := one, newProducer(t)
		senders.Add(1)
		go func() {
			defer senders.Done()
			for i, text := range numbered(fmt.Sprint("queue", queue.QueueId), perQueue) {
				message := primitive.NewMessage(queue.Topic, []byte(text))
				message.Queue = queue
				result, err := to.SendSync(background, message)
				if err != nil || result.QueueOffset != int64(i) {
					t.Errorf("message %d of %v: %v, %v", i, queue, result, err)
					return
				}
			}
		}()
	}
	var inbox inbox
	consume(t, name("group"), queues[0].Topic, inbox.accept)
	senders.Wait()
	if t.Failed() {
		t.FailNow()
	}
	inbox.awaitCount(t, perQueue*len(queues))
	var all []string
	reader := newReader(t, queues[0].Topic)
	for _, queue := range queues {
		texts := numbered(fmt.Sprint("queue", queue.QueueId), perQueue)
		equal(t, "stored", texts, textsOf(readQueue(t, reader, queue, perQueue)))
		all = append(all, texts...)
	}
	equal(t, "delivered", all, inbox.texts(""))
}
