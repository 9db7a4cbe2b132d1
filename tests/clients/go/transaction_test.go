package clients

import (
	"sort"
	"sync"
	"testing"
	"time"

	rocketmq "github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"
)

// knower knows by text what becomes of a message, at first and when it is asked.
type knower struct {
	lock         sync.Mutex
	first, later map[string]primitive.LocalTransactionState
	asked        []string
}

func (knower *knower) ExecuteLocalTransaction(message *primitive.Message) primitive.LocalTransactionState {
	knower.lock.Lock()
	defer knower.lock.Unlock()
	if state, isKnown := knower.first[string(message.Body)]; isKnown {
		return state
	}
	return primitive.UnknowState
}

func (knower *knower) CheckLocalTransaction(message *primitive.MessageExt) primitive.LocalTransactionState {
	knower.lock.Lock()
	defer knower.lock.Unlock()
	knower.asked = append(knower.asked, string(message.Body))
	if state, isKnown := knower.later[string(message.Body)]; isKnown {
		return state
	}
	return primitive.UnknowState
}

func newTransactor(t *testing.T, knower *knower) rocketmq.TransactionProducer {
	t.Helper()
	made, err := rocketmq.NewTransactionProducer(knower, producer.WithNameServer(namesrv()),
		producer.WithGroupName(name("transactor")), producer.WithInstanceName(name("instance")),
		producer.WithSendMsgTimeout(15*time.Second))
	check(t, err)
	check(t, made.Start())
	t.Cleanup(func() { _ = made.Shutdown() })
	return made
}

func TestTransactionsAreCommittedOnceAndRolledBack(t *testing.T) {
	t.Parallel()
	topic := newTopic(t, 4)[0].Topic
	texts := numbered("transaction", 30)
	knower := &knower{
		first: map[string]primitive.LocalTransactionState{}, later: map[string]primitive.LocalTransactionState{},
	}
	var committed []string
	for i, text := range texts {
		state := primitive.RollbackMessageState
		if i%2 == 0 {
			state = primitive.CommitMessageState
			committed = append(committed, text)
		}
		knower.later[text] = state
		// A third is known only when it is asked for.
		if i%3 != 0 {
			knower.first[text] = state
		}
	}
	transactor := newTransactor(t, knower)
	var seen inbox
	consume(t, name("group"), topic, seen.accept)
	for _, text := range texts {
		result, err := transactor.SendMessageInTransaction(background, primitive.NewMessage(topic, []byte(text)))
		check(t, err)
		if result.Status != primitive.SendOK {
			t.Fatal(result)
		}
	}
	seen.awaitCount(t, len(committed))
	sendAll(t, newProducer(t), topic, []string{"zlast"})
	seen.awaitCount(t, len(committed)+1)
	equal(t, "committed", append(committed, "zlast"), seen.texts(""))
	knower.lock.Lock()
	defer knower.lock.Unlock()
	sort.Strings(knower.asked)
	for i, text := range texts {
		at := sort.SearchStrings(knower.asked, text)
		isAsked := at < len(knower.asked) && knower.asked[at] == text
		if i%6 == 0 && !isAsked {
			t.Fatal("committed without being asked for: ", text)
		}
	}
}
