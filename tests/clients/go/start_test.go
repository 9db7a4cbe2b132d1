package clients

import (
	"testing"
	"time"

	"github.com/apache/rocketmq-client-go/v2/consumer"
)

// A group's first offset is the broker's decision as long as the topic is young; that of a broadcasting consumer is the
// client's, by the largest offset and the search by time.
func TestStartingPoints(t *testing.T) {
	queues := newTopic(t, 4)
	topic := queues[0].Topic
	to := newProducer(t)
	early, late, later := numbered("early", 40), numbered("late", 40), numbered("later", 40)
	sendAll(t, to, topic, early)
	// The client gives the time in whole seconds, as UTC.
	between := time.Now().Truncate(time.Second).Add(2 * time.Second)
	await(t, "the second between", func() bool { return time.Now().After(between.Add(100 * time.Millisecond)) })
	sendAll(t, to, topic, late)
	all, some := append(append([]string(nil), early...), late...), late

	cases := []struct {
		name     string
		where    consumer.ConsumeFromWhere
		model    consumer.MessageModel
		expected []string
	}{
		{"first", consumer.ConsumeFromFirstOffset, consumer.Clustering, all},
		{"first of a young topic though last was asked for", consumer.ConsumeFromLastOffset, consumer.Clustering, all},
		{"first broadcasting", consumer.ConsumeFromFirstOffset, consumer.BroadCasting, all},
		{"timestamp", consumer.ConsumeFromTimestamp, consumer.BroadCasting, some},
		{"last", consumer.ConsumeFromLastOffset, consumer.BroadCasting, nil},
	}
	inboxes := make([]inbox, len(cases))
	for i, one := range cases {
		consume(t, name("group"), topic, inboxes[i].accept, consumer.WithConsumeFromWhere(one.where),
			consumer.WithConsumerModel(one.model), consumer.WithConsumeTimestamp(between.UTC().Format("20060102150405")))
	}
	for i, one := range cases {
		inboxes[i].awaitCount(t, len(one.expected))
	}
	// Whoever starts at the last offset has nothing to show that it started: send until it gets something from every queue.
	last := &inboxes[len(cases)-1]
	await(t, "the consumer from the last offset on has all queues", func() bool {
		sendRound(t, to, queues, "marker")
		seen := make(map[int]bool)
		for _, one := range last.messages() {
			seen[one.queue] = true
		}
		return len(seen) == len(queues)
	})
	sendAll(t, to, topic, later)
	for i, one := range cases {
		inbox, what := &inboxes[i], one.name
		await(t, "what came later", func() bool { return len(inbox.texts("later-")) >= len(later) })
		equal(t, what+": before", one.expected, merged(inbox.texts("early-"), inbox.texts("late-")))
		equal(t, what+": later", later, inbox.texts("later-"))
	}
}

func TestBroadcastingConsumerGoesOnWhereItStopped(t *testing.T) {
	queues := newTopic(t, 4)
	topic, group, instance := queues[0].Topic, name("group"), name("instance")
	to := newProducer(t)
	for _, prefix := range []string{"first-run", "second-run", "third-run"} {
		texts := numbered(prefix, 100)
		sendAll(t, to, topic, texts)
		var inbox inbox
		reader := consume(t, group, topic, inbox.accept, consumer.WithConsumerModel(consumer.BroadCasting),
			consumer.WithInstance(instance))
		await(t, "what was sent before the start", func() bool { return len(inbox.messages()) >= 100 })
		check(t, reader.Shutdown())
		equal(t, prefix, texts, inbox.texts(""))
	}
}
