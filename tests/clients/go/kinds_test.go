package clients

import (
	"context"
	"fmt"
	"sort"
	"strings"
	"sync"
	"testing"
	"time"

	rocketmq "github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"
)

// answerAll answers every request with its text and one word more.
func answerAll(t *testing.T, topic string) {
	t.Helper()
	replier := newProducer(t)
	made, err := rocketmq.NewPushConsumer(consumer.WithNameServer(namesrv()), consumer.WithGroupName(name("answers")),
		consumer.WithInstance(name("instance")), consumer.WithConsumeFromWhere(consumer.ConsumeFromFirstOffset))
	check(t, err)
	check(t, made.Subscribe(topic, consumer.MessageSelector{},
		func(_ context.Context, messages ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
			for _, message := range messages {
				reply, err := consumer.CreateReplyMessage(message, nil)
				if err != nil {
					return consumer.ConsumeRetryLater, nil
				}
				// The client takes the body that it is given for properties.
				reply.Body = []byte(string(message.Body) + " answered")
				if _, err := replier.SendSync(background, reply); err != nil {
					return consumer.ConsumeRetryLater, nil
				}
			}
			return consumer.ConsumeSuccess, nil
		}))
	check(t, made.Start())
	t.Cleanup(func() { _ = made.Shutdown() })
}

func TestEachRequestGetsItsAnswer(t *testing.T) {
	t.Parallel()
	topic := newTopic(t, 4)[0].Topic
	answerAll(t, topic)
	for requester := 0; requester < 3; requester++ {
		to := newProducer(t)
		for _, text := range numbered(fmt.Sprint("request", requester), 3) {
			answer, err := to.Request(background, patience, primitive.NewMessage(topic, []byte(text)))
			check(t, err)
			equal(t, "answer", []string{text + " answered"}, []string{string(answer.Body)})
		}
	}
}

func TestARequestThatNobodyAnswersTimesOut(t *testing.T) {
	t.Parallel()
	topic := newTopic(t, 1)[0].Topic
	if answer, err := newProducer(t).Request(background, 2*time.Second, primitive.NewMessage(topic, []byte("nobody"))); err == nil {
		t.Fatal("answered: ", answer)
	}
}

// attempts is what a listener that always fails saw.
type attempts struct {
	lock sync.Mutex
	all  []string
}

func (attempts *attempts) add(message *primitive.MessageExt) {
	attempts.lock.Lock()
	defer attempts.lock.Unlock()
	attempts.all = append(attempts.all, fmt.Sprintf("%s %d %s", message.Body, message.ReconsumeTimes, message.Topic))
}

func (attempts *attempts) sorted() []string {
	attempts.lock.Lock()
	defer attempts.lock.Unlock()
	all := append([]string(nil), attempts.all...)
	sort.Strings(all)
	return all
}

// A failed message waits for delay level 3, then 4 and so on: 2 s each with ../server.
func TestDeadAfterExactlyTheConfiguredAttempts(t *testing.T) {
	t.Parallel()
	in(t, "slow")
	queue, group := newTopic(t, 1)[0], name("group")
	var seen attempts
	consume(t, group, queue.Topic, func(message *primitive.MessageExt) consumer.ConsumeResult {
		seen.add(message)
		return consumer.ConsumeRetryLater
	}, consumer.WithMaxReconsumeTimes(3))
	result, err := newProducer(t).SendSync(background, primitive.NewMessage(queue.Topic, []byte("fails")).WithTag("TagA"))
	check(t, err)
	dead := awaitDead(t, group, 1)[0]
	var expected []string
	for times := 0; times <= 3; times++ {
		expected = append(expected, fmt.Sprintf("fails %d %s", times, queue.Topic))
	}
	equal(t, "attempts", expected, seen.sorted())
	equal(t, "body, tag, topic, id", []string{"fails", "TagA", queue.Topic, result.OffsetMsgID},
		[]string{string(dead.Body), dead.GetTags(), dead.GetProperty(primitive.PropertyRetryTopic), dead.GetProperty(primitive.PropertyOriginMessageId)})
	if dead.ReconsumeTimes != 4 {
		t.Fatal("reconsume times of a dead letter: ", dead.ReconsumeTimes)
	}
}

// awaitDead reads the dead letters of a group, which has a topic for them with its first.
func awaitDead(t *testing.T, group string, count int) []*primitive.MessageExt {
	t.Helper()
	topic := "%DLQ%" + group
	var reader rocketmq.PullConsumer
	await(t, topic+" exists", func() bool {
		made, err := rocketmq.NewPullConsumer(consumer.WithNameServer(namesrv()), consumer.WithGroupName(name("reader")),
			consumer.WithInstance(name("instance")))
		check(t, err)
		check(t, made.Subscribe(topic, consumer.MessageSelector{}))
		if made.Start() != nil {
			_ = made.Shutdown()
			return false
		}
		reader = made
		return true
	})
	t.Cleanup(func() { _ = reader.Shutdown() })
	broker := newTopic(t, 1)[0].BrokerName
	return readQueue(t, reader, &primitive.MessageQueue{Topic: topic, BrokerName: broker, QueueId: 0}, count)
}

func TestATimeOfOnesOwnIsKept(t *testing.T) {
	t.Parallel()
	queue := newTopic(t, 1)[0]
	to := newProducer(t)
	now := time.Now().UnixMilli()
	times := []struct {
		property, value string
		dueMs           int64
	}{
		{"TIMER_DELIVER_MS", fmt.Sprint(now + 6000), now + 6000},
		{"TIMER_DELAY_SEC", "2", now + 2000},
		{"TIMER_DELAY_MS", "4000", now + 4000},
	}
	for _, one := range times {
		message := primitive.NewMessage(queue.Topic, []byte(one.property))
		message.WithProperty(one.property, one.value)
		_, err := to.SendSync(background, message)
		check(t, err)
	}
	messages := readQueue(t, newReader(t, queue.Topic), queue, len(times))
	equal(t, "order", []string{"TIMER_DELAY_SEC", "TIMER_DELAY_MS", "TIMER_DELIVER_MS"}, textsOf(messages))
	for _, message := range messages {
		for _, one := range times {
			if one.property == string(message.Body) && message.StoreTimestamp < one.dueMs {
				t.Fatalf("%s: early by %d ms", one.property, one.dueMs-message.StoreTimestamp)
			}
		}
	}
}

func TestATraceOfEachSendArrives(t *testing.T) {
	t.Parallel()
	traces, topic := newTopic(t, 1)[0], newTopic(t, 1)[0].Topic
	to := newProducer(t, producer.WithTrace(&primitive.TraceConfig{
		TraceTopic: traces.Topic, GroupName: name("tracer"), Access: primitive.Local, NamesrvAddrs: namesrv(),
	}))
	var ids []string
	for _, text := range numbered("traced", 10) {
		result, err := to.SendSync(background, primitive.NewMessage(topic, []byte(text)).WithKeys([]string{"key-" + text}))
		check(t, err)
		ids = append(ids, result.MsgID)
	}
	var inbox inbox
	consume(t, name("group"), traces.Topic, inbox.accept)
	await(t, "a trace of each", func() bool {
		all := strings.Join(inbox.texts(""), "")
		for _, id := range ids {
			if !strings.Contains(all, id) {
				return false
			}
		}
		return true
	})
	if all := strings.Join(inbox.texts(""), ""); !strings.Contains(all, "key-traced-00009") || !strings.Contains(all, topic) {
		t.Fatal("traces without topic or keys: ", all)
	}
}

func TestOrderlyMessageOutOfRetriesMakesRoomForTheNext(t *testing.T) {
	in(t, "locks")
	t.Parallel()
	queue, group := newTopic(t, 1)[0], name("group")
	sendAll(t, newProducer(t), queue.Topic, []string{"before", "fails", "later"})
	var inbox inbox
	consume(t, group, queue.Topic, func(message *primitive.MessageExt) consumer.ConsumeResult {
		inbox.accept(message)
		if string(message.Body) == "fails" {
			return consumer.SuspendCurrentQueueAMoment
		}
		return consumer.ConsumeSuccess
	}, consumer.WithConsumerOrder(true), consumer.WithMaxReconsumeTimes(2), consumer.WithSuspendCurrentQueueTimeMillis(100*time.Millisecond))
	await(t, "the next one", func() bool { return len(inbox.texts("later")) > 0 })
	// The first attempt and the retries; this client compares before it counts, and so tries once more than Java's.
	equal(t, "attempts", []string{"before", "fails", "fails", "fails", "fails", "later"}, inbox.texts(""))
	equal(t, "dead letters", []string{"fails"}, textsOf(awaitDead(t, group, 1)))
}
