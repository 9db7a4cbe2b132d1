package clients

import (
	"fmt"
	"testing"

	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
)

func TestQueuesOfAKilledConsumerGoToTheOther(t *testing.T) {
	t.Parallel()
	queues := newTopic(t, 8)
	topic, group := queues[0].Topic, name("group")
	to := newProducer(t)
	var staying inbox
	consume(t, group, topic, staying.accept)
	victim := startChild(t, group, topic, "")
	awaitShares(t, to, queues, &staying, &victim.inbox, 4)

	texts := numbered("kill", 1000)
	sendAll(t, to, topic, texts[:500])
	victim.kill()
	sendAll(t, to, topic, texts[500:])
	// What the killed one had consumed without a commit comes twice.
	await(t, "all messages delivered to one or the other", func() bool {
		return len(distinct(staying.texts("kill"), victim.texts("kill"))) == len(texts)
	})
	awaitShares(t, to, queues, &staying, &victim.inbox, 8)
	equal(t, "delivered", texts, distinct(staying.texts("kill"), victim.texts("kill")))
}

func TestOrderSurvivesAKilledConsumer(t *testing.T) {
	in(t, "locks", "slow")
	t.Parallel()
	queues := newTopic(t, 4)
	topic, group := queues[0].Topic, name("group")
	to := newProducer(t)
	var staying inbox
	consume(t, group, topic, staying.accept, consumer.WithConsumerOrder(true))
	victim := startChild(t, group, topic, "orderly")
	awaitShares(t, to, queues, &staying, &victim.inbox, 2)

	const rounds = 100
	for round := 0; round < rounds; round++ {
		if round == rounds/2 {
			victim.kill()
		}
		sendRound(t, to, queues, fmt.Sprintf("order-%05d", round))
	}
	await(t, "all messages delivered to one or the other", func() bool {
		return len(distinct(staying.texts("order"), victim.texts("order"))) == rounds*len(queues)
	})
	for _, queue := range queues {
		of := func(inbox *inbox) (offsets []int64) {
			for _, one := range inbox.messages() {
				if one.queue == queue.QueueId {
					offsets = append(offsets, one.offset)
				}
			}
			return offsets
		}
		checkOneAfterTheOther(t, queue, of(&victim.inbox))
		checkOneAfterTheOther(t, queue, of(&staying))
	}
}

// checkOneAfterTheOther: a queue that changes its consumer goes on where the group was committed, which may be further
// back or, when the other consumer had it between, ahead; within the consumer no two are swapped and none is left out.
func checkOneAfterTheOther(t *testing.T, queue *primitive.MessageQueue, offsets []int64) {
	t.Helper()
	breaks := 0
	for i := 1; i < len(offsets); i++ {
		if offsets[i] != offsets[i-1]+1 {
			breaks++
		}
	}
	// At most once given away and taken back: before and after the other consumer was there.
	if breaks > 1 {
		t.Fatalf("%v was consumed in the order %v", queue, offsets)
	}
}

func TestOrderlyConsumerGetsAFailedMessageAgainBeforeTheNext(t *testing.T) {
	in(t, "locks")
	t.Parallel()
	queue := newTopic(t, 1)[0]
	texts := numbered("order", 20)
	sendAll(t, newProducer(t), queue.Topic, texts)
	var inbox inbox
	consume(t, name("group"), queue.Topic, func(message *primitive.MessageExt) consumer.ConsumeResult {
		inbox.accept(message)
		if string(message.Body) == texts[10] && len(inbox.texts(texts[10])) < 3 {
			return consumer.SuspendCurrentQueueAMoment
		}
		return consumer.ConsumeSuccess
	}, consumer.WithConsumerOrder(true))
	expected := append([]string(nil), texts[:11]...)
	expected = append(expected, texts[10], texts[10])
	expected = append(expected, texts[11:]...)
	inbox.awaitCount(t, len(expected))
	var found []string
	for _, one := range inbox.messages() {
		found = append(found, one.text)
	}
	equal(t, "order of attempts", expected, found)
}
