package clients

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	rocketmq "github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"
)

// killed is where features meet: when all have something pending the server is killed and started, once for all of them.
type killed struct {
	pending  sync.WaitGroup
	isBack   chan struct{}
	problem  string
	features map[string]func(t *testing.T, awaitKill func())
}

func (killed *killed) run(t *testing.T) {
	killed.pending.Add(len(killed.features))
	killed.isBack = make(chan struct{})
	go func() {
		defer close(killed.isBack)
		killed.pending.Wait()
		for _, command := range []string{"kill", "start"} {
			if output, err := serverCommand(command); err != nil {
				killed.problem = fmt.Sprintf("%s: %v: %s", command, err, output)
				return
			}
		}
	}()
	for what, feature := range killed.features {
		what, feature := what, feature
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			var once sync.Once
			isPending := func() { once.Do(killed.pending.Done) }
			// One that fails must not keep the others waiting.
			defer isPending()
			feature(t, func() {
				isPending()
				<-killed.isBack
				if killed.problem != "" {
					t.Fatal(killed.problem)
				}
			})
		})
	}
}

// sendPatiently tries until the server takes it, such as one that was just started.
func sendPatiently(t *testing.T, to rocketmq.Producer, make func() *primitive.Message) {
	t.Helper()
	await(t, "the server takes messages", func() bool {
		result, err := to.SendSync(background, make())
		return err == nil && result.Status == primitive.SendOK
	})
}

// At most 7 features: so many tests run beside each other, and all must be pending.
func TestWhatIsPendingSurvivesAKill(t *testing.T) {
	if os.Getenv("SERVER") == "" {
		t.Skip("not a server that a test may end, SERVER is not set")
	}
	all := &killed{features: map[string]func(*testing.T, func()){
		"delays": delaysSurvive, "open transactions": openTransactionsSurvive, "transactions under load": transactionsSurvive,
		"retries": retriesSurvive, "order": orderSurvives, "filters and broadcast": filtersSurvive, "requests": requestsSurvive,
	}}
	all.run(t)
}

func delaysSurvive(t *testing.T, awaitKill func()) {
	queue := newTopic(t, 1)[0]
	to := newProducer(t)
	// Levels 2 and 18 of ../server are 5 s and 20 s.
	delays := map[string]time.Duration{"level-02": 5 * time.Second, "level-18": 20 * time.Second, "time": 15 * time.Second}
	for _, level := range []int{18, 2} {
		message := primitive.NewMessage(queue.Topic, []byte(fmt.Sprintf("level-%02d", level))).WithDelayTimeLevel(level)
		_, err := to.SendSync(background, message)
		check(t, err)
	}
	timed := primitive.NewMessage(queue.Topic, []byte("time"))
	timed.WithProperty("TIMER_DELAY_MS", "15000")
	_, err := to.SendSync(background, timed)
	check(t, err)
	awaitKill()
	messages := readQueue(t, newReader(t, queue.Topic), queue, len(delays))
	if len(messages) != len(delays) {
		t.Fatal("delivered: ", textsOf(messages))
	}
	for _, message := range messages {
		waited := time.Duration(message.StoreTimestamp-message.BornTimestamp) * time.Millisecond
		// The producer's time is cut to the ms, and read before the broker's.
		if due := delays[string(message.Body)]; waited < due {
			t.Fatalf("%s came after %s", message.Body, waited)
		}
	}
}

func openTransactionsSurvive(t *testing.T, awaitKill func()) {
	if os.Getenv("KIND") == "apache" {
		t.Skip("Apache counts rounds in which a half message is immune as checks, and gives it up")
	}
	topic := newTopic(t, 2)[0].Topic
	knower := &knower{first: map[string]primitive.LocalTransactionState{}, later: map[string]primitive.LocalTransactionState{}}
	var seen inbox
	consume(t, name("group"), topic, seen.accept)
	transactor := newTransactor(t, knower)
	var committed []string
	for i, text := range numbered("open", 10) {
		message := primitive.NewMessage(topic, []byte(text))
		// The client's next heartbeat comes within 30 s: before it nobody can be asked, and that counts as asked.
		message.WithProperty("CHECK_IMMUNITY_TIME_IN_SECONDS", "45")
		_, err := transactor.SendMessageInTransaction(background, message)
		check(t, err)
		if i%3 != 0 {
			committed = append(committed, text)
		}
	}
	awaitKill()
	knower.lock.Lock()
	for i, text := range numbered("open", 10) {
		knower.later[text] = primitive.RollbackMessageState
		if i%3 != 0 {
			knower.later[text] = primitive.CommitMessageState
		}
	}
	knower.later["zlast"] = primitive.CommitMessageState
	knower.lock.Unlock()
	seen.awaitCount(t, len(committed))
	// One more that is only known when it is asked for: another turn of checks has passed when it comes.
	_, err := transactor.SendMessageInTransaction(background, primitive.NewMessage(topic, []byte("zlast")))
	check(t, err)
	await(t, "the last", func() bool { return len(seen.texts("zlast")) > 0 })
	equal(t, "committed", append(committed, "zlast"), seen.texts(""))
}

// byText commits all but those that end with 3, some only when they are asked for.
type byText struct{}

func (byText) state(text string) primitive.LocalTransactionState {
	if strings.HasSuffix(text, "3") {
		return primitive.RollbackMessageState
	}
	return primitive.CommitMessageState
}

func (decided byText) ExecuteLocalTransaction(message *primitive.Message) primitive.LocalTransactionState {
	return decided.state(string(message.Body))
}

func (decided byText) CheckLocalTransaction(message *primitive.MessageExt) primitive.LocalTransactionState {
	return decided.state(string(message.Body))
}

func transactionsSurvive(t *testing.T, awaitKill func()) {
	queues := newTopic(t, 3)
	topic := queues[0].Topic
	// A half message whose answer the kill took away, sent again, would be two.
	transactor, err := rocketmq.NewTransactionProducer(byText{}, producer.WithNameServer(namesrv()),
		producer.WithGroupName(name("transactor")), producer.WithInstanceName(name("instance")),
		producer.WithSendMsgTimeout(2*time.Second), producer.WithRetry(0))
	check(t, err)
	check(t, transactor.Start())
	t.Cleanup(func() { _ = transactor.Shutdown() })
	var lock sync.Mutex
	var taken []string
	var ended atomic.Bool
	var sender sync.WaitGroup
	sender.Add(1)
	go func() {
		defer sender.Done()
		for i := 0; !ended.Load(); i++ {
			text := fmt.Sprintf("load-%07d", i)
			message := primitive.NewMessage(topic, []byte(text))
			// As in openTransactionsSurvive: an end that was lost is asked for when the client is known again.
			message.WithProperty("CHECK_IMMUNITY_TIME_IN_SECONDS", "45")
			result, err := transactor.SendMessageInTransaction(background, message)
			if err == nil && result.SendResult != nil && result.Status == primitive.SendOK {
				lock.Lock()
				taken = append(taken, text)
				lock.Unlock()
			}
			time.Sleep(5 * time.Millisecond)
		}
	}()
	// Also if the test fails.
	defer sender.Wait()
	defer ended.Store(true)
	awaitMore := func() {
		lock.Lock()
		enough := len(taken) + 100
		lock.Unlock()
		await(t, "100 more half messages", func() bool {
			lock.Lock()
			defer lock.Unlock()
			return len(taken) >= enough
		})
	}
	awaitMore()
	awaitKill()
	awaitMore()
	ended.Store(true)
	sender.Wait()
	var inbox inbox
	consume(t, name("group"), topic, inbox.accept)
	await(t, "all committed", func() bool {
		seen := make(map[string]bool)
		for _, text := range inbox.texts("") {
			seen[text] = true
		}
		for _, text := range taken {
			if (byText{}).state(text) == primitive.CommitMessageState && !seen[text] {
				return false
			}
		}
		return true
	})
	// This client may hand the same place of a queue to its listener twice. A second place would be the server's.
	placed := make(map[string]received)
	for _, one := range inbox.messages() {
		if (byText{}).state(one.text) != primitive.CommitMessageState {
			t.Fatal("rolled back and delivered: ", one)
		}
		if other, isThere := placed[one.text]; isThere && other != one {
			t.Fatal("committed twice: ", other, " and ", one)
		}
		placed[one.text] = one
	}
}

func retriesSurvive(t *testing.T, awaitKill func()) {
	queue, group := newTopic(t, 1)[0], name("group")
	var seen attempts
	consume(t, group, queue.Topic, func(message *primitive.MessageExt) consumer.ConsumeResult {
		seen.add(message)
		return consumer.ConsumeRetryLater
	}, consumer.WithMaxReconsumeTimes(5))
	texts := numbered("fails", 4)
	sendAll(t, newProducer(t), queue.Topic, texts)
	await(t, "all failed", func() bool { return len(seen.sorted()) >= len(texts) })
	awaitKill()
	equal(t, "dead letters", texts, distinct(textsOf(awaitDead(t, group, len(texts)))))
	var expected []string
	for _, text := range texts {
		for times := 0; times <= 5; times++ {
			expected = append(expected, fmt.Sprintf("%s %d %s", text, times, queue.Topic))
		}
	}
	// An attempt whose answer the kill took away is made again.
	equal(t, "attempts", expected, distinct(seen.sorted()))
}

func orderSurvives(t *testing.T, awaitKill func()) {
	queues := newTopic(t, 4)
	to := newProducer(t)
	var inbox inbox
	consume(t, name("group"), queues[0].Topic, func(message *primitive.MessageExt) consumer.ConsumeResult {
		inbox.accept(message)
		time.Sleep(10 * time.Millisecond)
		return consumer.ConsumeSuccess
	}, consumer.WithConsumerOrder(true))
	for round := 0; round < 300; round++ {
		sendRound(t, to, queues, fmt.Sprintf("before-%05d", round))
	}
	inbox.awaitCount(t, 20)
	awaitKill()
	for _, one := range queues {
		queue := one
		sendPatiently(t, to, func() *primitive.Message {
			message := primitive.NewMessage(queue.Topic, []byte(fmt.Sprint("after-", queue.QueueId)))
			message.Queue = queue
			return message
		})
	}
	await(t, "all delivered", func() bool { return len(distinct(inbox.texts(""))) == 301*len(queues) })
	for _, queue := range queues {
		var offsets []int64
		for _, one := range inbox.messages() {
			if one.queue == queue.QueueId {
				offsets = append(offsets, one.offset)
			}
		}
		checkOneAfterTheOther(t, queue, offsets)
	}
}

func filtersSurvive(t *testing.T, awaitKill func()) {
	topic := newTopic(t, 3)[0].Topic
	to := newProducer(t)
	sql := "n BETWEEN 10 AND 19 AND half = 'even'"
	selected := func(selector consumer.MessageSelector) *inbox {
		inbox := &inbox{}
		reader, err := rocketmq.NewPushConsumer(consumer.WithNameServer(namesrv()), consumer.WithGroupName(name("group")),
			consumer.WithInstance(name("instance")), consumer.WithConsumeFromWhere(consumer.ConsumeFromFirstOffset))
		check(t, err)
		check(t, reader.Subscribe(topic, selector, inbox.each))
		check(t, reader.Start())
		t.Cleanup(func() { _ = reader.Shutdown() })
		return inbox
	}
	bySql, byTag := selected(consumer.MessageSelector{Type: consumer.SQL92, Expression: sql}),
		selected(consumer.MessageSelector{Type: consumer.TAG, Expression: "Tag1 || Tag2"})
	var everything inbox
	consume(t, name("group"), topic, everything.accept, consumer.WithConsumerModel(consumer.BroadCasting))
	var wantedBySql, wantedByTag, all []string
	send := func(prefix string) {
		for i, one := range numbered(prefix, 30) {
			number, text := i, one
			sendPatiently(t, to, func() *primitive.Message {
				message := primitive.NewMessage(topic, []byte(text)).WithTag(fmt.Sprint("Tag", number%4))
				message.WithProperty("n", fmt.Sprint(number))
				message.WithProperty("half", []string{"even", "odd"}[number%2])
				return message
			})
			all = append(all, text)
			if 10 <= i && i <= 19 && i%2 == 0 {
				wantedBySql = append(wantedBySql, text)
			}
			if i%4 == 1 || i%4 == 2 {
				wantedByTag = append(wantedByTag, text)
			}
		}
		await(t, "all that is wanted", func() bool {
			return len(distinct(bySql.texts(""))) == len(wantedBySql) && len(distinct(byTag.texts(""))) == len(wantedByTag) &&
				len(distinct(everything.texts(""))) == len(all)
		})
		equal(t, "by SQL92", wantedBySql, distinct(bySql.texts("")))
		equal(t, "by tag", wantedByTag, distinct(byTag.texts("")))
		equal(t, "broadcast", all, everything.texts(""))
	}
	send("a-before")
	awaitKill()
	send("b-after")
}

func requestsSurvive(t *testing.T, awaitKill func()) {
	topic := newTopic(t, 2)[0].Topic
	answerAll(t, topic)
	to := newProducer(t)
	ask := func(text string) {
		await(t, "an answer", func() bool {
			answer, err := to.Request(background, 10*time.Second, primitive.NewMessage(topic, []byte(text)))
			return err == nil && answer != nil && string(answer.Body) == text+" answered"
		})
	}
	ask("before")
	awaitKill()
	ask("after")
}
