package clients

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"reflect"
	"sort"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	rocketmq "github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/admin"
	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"
	"github.com/google/uuid"
)

// patience is for anything that clients bring about by their own timers: a rebalance comes after 20 s at the latest, the
// locks of a killed consumer end after 60 s.
const patience = 200 * time.Second

var background = context.Background()

// name is never used twice: the store under test has a history.
func name(kind string) string {
	return kind + "_" + strings.ReplaceAll(uuid.NewString(), "-", "")
}

func await(t *testing.T, promise string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !holds(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within %s: %s", patience, promise)
		}
	}
}

// in names what a test needs, so that runs can leave it out: locks for a server without queue locks, slow.
func in(t *testing.T, names ...string) {
	t.Helper()
	for _, one := range names {
		if one == os.Getenv("WITHOUT") {
			t.Skip("without", one)
		}
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func equal(t *testing.T, what string, expected, found []string) {
	t.Helper()
	if len(expected)+len(found) > 0 && !reflect.DeepEqual(expected, found) {
		t.Fatalf("%s: expected %d: %s, found %d: %s", what, len(expected), head(expected), len(found), head(found))
	}
}

func head(texts []string) []string {
	if len(texts) > 20 {
		return texts[:20]
	}
	return texts
}

// numbered gives prefix-00000, prefix-00001 and so on: sorted as text they are sorted as numbers.
func numbered(prefix string, count int) []string {
	texts := make([]string, count)
	for i := range texts {
		texts[i] = fmt.Sprintf("%s-%05d", prefix, i)
	}
	return texts
}

// chosenOrNext sends to the queue that the message names, and to the queues in turn if it names none.
type chosenOrNext struct {
	producer.QueueSelector
}

func (selector chosenOrNext) Select(message *primitive.Message, queues []*primitive.MessageQueue, last string) *primitive.MessageQueue {
	if message.Queue != nil {
		return message.Queue
	}
	return selector.QueueSelector.Select(message, queues, last)
}

func newProducer(t *testing.T, options ...producer.Option) rocketmq.Producer {
	t.Helper()
	options = append([]producer.Option{
		producer.WithNameServer(namesrv()), producer.WithGroupName(name("producer")),
		producer.WithInstanceName(name("instance")), producer.WithSendMsgTimeout(15 * time.Second),
		producer.WithQueueSelector(chosenOrNext{producer.NewRoundRobinQueueSelector()}),
	}, options...)
	made, err := rocketmq.NewProducer(options...)
	check(t, err)
	check(t, made.Start())
	t.Cleanup(func() { _ = made.Shutdown() })
	return made
}

// newTopic returns the queues in order of their ids.
func newTopic(t *testing.T, queueCount int) []*primitive.MessageQueue {
	t.Helper()
	topic := name("topic")
	operator, err := admin.NewAdmin(admin.WithResolver(primitive.NewPassthroughResolver(namesrv())))
	check(t, err)
	check(t, operator.CreateTopic(background, admin.WithTopicCreate(topic), admin.WithBrokerAddrCreate(brokerAddress(t)),
		admin.WithReadQueueNums(queueCount), admin.WithWriteQueueNums(queueCount)))
	var queues []*primitive.MessageQueue
	await(t, fmt.Sprint(queueCount, " queues"), func() bool {
		queues, _ = operator.FetchPublishMessageQueues(background, topic)
		return len(queues) == queueCount
	})
	sort.Slice(queues, func(a, b int) bool { return queues[a].QueueId < queues[b].QueueId })
	return queues
}

// brokerAddress asks for what the client never tells: the id of a stored message has it, if it is IPv4.
func brokerAddress(t *testing.T) string {
	t.Helper()
	if address := os.Getenv("BROKER"); address != "" {
		return address
	}
	result, err := newProducer(t).SendSync(background, primitive.NewMessage(name("where"), []byte("are you")))
	check(t, err)
	id, err := primitive.UnmarshalMsgID([]byte(result.OffsetMsgID))
	check(t, err)
	return fmt.Sprintf("%s:%d", id.Addr, id.Port)
}

func sendAll(t *testing.T, to rocketmq.Producer, topic string, texts []string) {
	t.Helper()
	for _, text := range texts {
		_, err := to.SendSync(background, primitive.NewMessage(topic, []byte(text)))
		check(t, err)
	}
}

// sendRound sends one message to each queue and returns their texts.
func sendRound(t *testing.T, to rocketmq.Producer, queues []*primitive.MessageQueue, prefix string) []string {
	t.Helper()
	texts := numbered(prefix, len(queues))
	for i, queue := range queues {
		message := primitive.NewMessage(queue.Topic, []byte(texts[i]))
		message.Queue = queue
		_, err := to.SendSync(background, message)
		check(t, err)
	}
	return texts
}

type listener func(message *primitive.MessageExt) consumer.ConsumeResult

// startConsumer reads from the first offset on unless an option says otherwise.
func startConsumer(group, topic string, listener listener, options ...consumer.Option) (rocketmq.PushConsumer, error) {
	options = append([]consumer.Option{
		consumer.WithNameServer(namesrv()), consumer.WithGroupName(group), consumer.WithInstance(name("instance")),
		consumer.WithConsumeFromWhere(consumer.ConsumeFromFirstOffset),
	}, options...)
	made, err := rocketmq.NewPushConsumer(options...)
	if err != nil {
		return nil, err
	}
	err = made.Subscribe(topic, consumer.MessageSelector{},
		func(_ context.Context, messages ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
			for _, message := range messages {
				if result := listener(message); result != consumer.ConsumeSuccess {
					return result, nil
				}
			}
			return consumer.ConsumeSuccess, nil
		})
	if err != nil {
		return nil, err
	}
	return made, made.Start()
}

func consume(t *testing.T, group, topic string, listener listener, options ...consumer.Option) rocketmq.PushConsumer {
	t.Helper()
	made, err := startConsumer(group, topic, listener, options...)
	check(t, err)
	t.Cleanup(func() { _ = made.Shutdown() })
	return made
}

// received is what a listener saw, copied: the client changes a message after the listener returned.
type received struct {
	queue  int
	offset int64
	text   string
}

type inbox struct {
	lock sync.Mutex
	all  []received
}

func (inbox *inbox) accept(message *primitive.MessageExt) consumer.ConsumeResult {
	inbox.add(received{message.Queue.QueueId, message.QueueOffset, string(message.Body)})
	return consumer.ConsumeSuccess
}

func (inbox *inbox) add(one received) {
	inbox.lock.Lock()
	defer inbox.lock.Unlock()
	inbox.all = append(inbox.all, one)
}

func (inbox *inbox) messages() []received {
	inbox.lock.Lock()
	defer inbox.lock.Unlock()
	return append([]received(nil), inbox.all...)
}

// texts are those with the prefix, sorted, with repetitions, so that lists compare as "exactly once".
func (inbox *inbox) texts(prefix string) []string {
	var texts []string
	for _, one := range inbox.messages() {
		if strings.HasPrefix(one.text, prefix) {
			texts = append(texts, one.text)
		}
	}
	sort.Strings(texts)
	return texts
}

func (inbox *inbox) awaitCount(t *testing.T, count int) {
	t.Helper()
	await(t, fmt.Sprint(count, " messages delivered"), func() bool { return len(inbox.messages()) >= count })
}

// child is a consumer in a process of its own, and what it said that it had consumed.
type child struct {
	inbox
	process *exec.Cmd
	ended   chan struct{}
}

func startChild(t *testing.T, group, topic string, order string) *child {
	t.Helper()
	process := exec.Command(os.Args[0])
	process.Env = append(os.Environ(), childGroup+"="+group, childTopic+"="+topic, childOrder+"="+order)
	process.Stderr = os.Stderr
	output, err := process.StdoutPipe()
	check(t, err)
	check(t, process.Start())
	child := &child{process: process, ended: make(chan struct{})}
	go func() {
		defer close(child.ended)
		for lines := bufio.NewScanner(output); lines.Scan(); {
			if words := strings.SplitN(lines.Text(), " ", 3); len(words) == 3 {
				queue, _ := strconv.Atoi(words[0])
				offset, _ := strconv.ParseInt(words[1], 10, 64)
				child.add(received{queue, offset, words[2]})
			}
		}
		_ = process.Wait()
	}()
	t.Cleanup(child.kill)
	return child
}

// kill is SIGKILL: no offset is committed, no group left. Everything that it said has been read when this returns.
func (child *child) kill() {
	_ = child.process.Process.Kill()
	<-child.ended
}

// newReader pulls from any queue; it needs a topic that exists.
func newReader(t *testing.T, topic string) rocketmq.PullConsumer {
	t.Helper()
	reader, err := rocketmq.NewPullConsumer(consumer.WithNameServer(namesrv()), consumer.WithGroupName(name("reader")),
		consumer.WithInstance(name("instance")))
	check(t, err)
	check(t, reader.Subscribe(topic, consumer.MessageSelector{}))
	check(t, reader.Start())
	t.Cleanup(func() { _ = reader.Shutdown() })
	return reader
}

// readQueue waits until the queue has so many messages, reads it whole and checks that its offsets have no gap.
func readQueue(t *testing.T, reader rocketmq.PullConsumer, queue *primitive.MessageQueue, count int) []*primitive.MessageExt {
	t.Helper()
	var messages []*primitive.MessageExt
	if count == 0 {
		// A pull at the end would wait 20 s for a message.
		return messages
	}
	await(t, fmt.Sprint(count, " messages in ", queue), func() bool {
		result, err := reader.PullFrom(background, queue, int64(len(messages)), 32)
		if err != nil || result.Status != primitive.PullFound {
			return false
		}
		for _, message := range result.GetMessageExts() {
			if message.QueueOffset != int64(len(messages)) {
				t.Fatalf("offset %d of %v where %d is due", message.QueueOffset, queue, len(messages))
			}
			messages = append(messages, message)
		}
		return len(messages) >= count && int64(len(messages)) == result.MaxOffset
	})
	return messages
}

func textsOf(messages []*primitive.MessageExt) []string {
	texts := make([]string, len(messages))
	for i, message := range messages {
		texts[i] = string(message.Body)
	}
	return texts
}

func (inbox *inbox) each(_ context.Context, messages ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
	for _, message := range messages {
		inbox.accept(message)
	}
	return consumer.ConsumeSuccess, nil
}

func merged(some, others []string) []string {
	all := append(append([]string(nil), some...), others...)
	sort.Strings(all)
	return all
}

func distinct(lists ...[]string) []string {
	var all []string
	known := make(map[string]bool)
	for _, list := range lists {
		for _, text := range list {
			if !known[text] {
				known[text] = true
				all = append(all, text)
			}
		}
	}
	sort.Strings(all)
	return all
}

// awaitShares sends rounds of one message per queue until each message of three rounds in a row was delivered exactly
// once, so many of them to the first consumer: the group's members have settled who reads which queue.
func awaitShares(t *testing.T, to rocketmq.Producer, queues []*primitive.MessageQueue, first, second *inbox, ofFirst int) {
	t.Helper()
	settled := 0
	await(t, fmt.Sprintf("%d of %d queues to the first consumer", ofFirst, len(queues)), func() bool {
		texts := sendRound(t, to, queues, name("round"))
		prefix := texts[0][:len(texts[0])-len("-00000")]
		for end := time.Now().Add(patience); len(distinct(first.texts(prefix), second.texts(prefix))) < len(texts); {
			if time.Now().After(end) {
				t.Fatal("a round was not delivered")
			}
			time.Sleep(5 * time.Millisecond)
		}
		if len(first.texts(prefix)) == ofFirst && len(second.texts(prefix)) == len(texts)-ofFirst {
			settled++
		} else {
			settled = 0
		}
		return settled == 3
	})
}
