//! What operators set: it is on disk before it is answered or shown, and there again after a restart.

use super::*;

const KEY: [(&str, &str); 2] = [("namespace", "n"), ("key", "k")];

fn put(value: &'static str) -> Vec<(&'static str, &'static str)> {
    [&KEY[..], &[("value", value)]].concat()
}

fn value(desk: &mut Desk) -> Option<String> {
    desk.ask(request::GET_KV_CONFIG, &KEY, b"").ext.remove("value")
}

/// Asks for settings and gives code and remark.
fn set(desk: &mut Desk, body: &str) -> (i32, String) {
    let answer = desk.ask(request::UPDATE_NAMESRV_CONFIG, &[], body.as_bytes());
    (answer.code, answer.remark.unwrap_or_default())
}

fn settings(desk: &mut Desk) -> String {
    let answer = desk.ask(request::GET_NAMESRV_CONFIG, &[], b"");
    assert_eq!(answer.code, 0);
    String::from_utf8(answer.body).unwrap()
}

#[test]
fn key_values_survive_a_restart() {
    let mut desk = Desk::new();
    assert_eq!(desk.ask(request::PUT_KV_CONFIG, &put("v"), b""), done());
    desk.restart();
    assert_eq!(value(&mut desk).as_deref(), Some("v"));
    assert_eq!(desk.ask(request::DELETE_KV_CONFIG, &KEY, b""), done());
    desk.restart();
    assert_eq!(value(&mut desk), None);
    let list = desk.ask(request::GET_KVLIST_BY_NAMESPACE, &KEY[..1], b"");
    assert_eq!(list.body, b"{\"table\":{}}", "the namespace is still known");
}

#[test]
fn what_cannot_be_kept_is_refused_and_not_shown() {
    let mut desk = Desk::new();
    assert_eq!(desk.ask(request::PUT_KV_CONFIG, &put("before"), b""), done());
    desk.disk_error = Some("write /f: no space left");
    let remark = "the name server could not keep the change: write /f: no space left";
    assert_eq!(desk.ask(request::PUT_KV_CONFIG, &put("v"), b""), refused(1, remark));
    assert_eq!(desk.ask(request::DELETE_KV_CONFIG, &KEY, b""), refused(1, remark));
    assert_eq!(value(&mut desk).as_deref(), Some("before"));
    assert_eq!(set(&mut desk, "enableTopicList=false"), (1, remark.to_owned()));
    assert!(settings(&mut desk).contains("enableTopicList=true\n"));
    desk.disk_error = None;
    assert_eq!(desk.ask(request::PUT_KV_CONFIG, &put("v"), b""), done());
    assert_eq!(value(&mut desk).as_deref(), Some("v"));
}

#[test]
fn changes_are_answered_when_they_are_on_disk_and_shown_then() {
    let mut desk = Desk::new();
    let save = |desk: &mut Desk| desk.server.next_save().map(|save| save.file);
    let answers = |desk: &mut Desk| -> Vec<(u64, i32, i32)> {
        let answers = desk.server.saved(Ok(())).into_iter();
        let read = |answer: Answer| {
            let (opaque, reply) = read(&answer.frame);
            (answer.connection.0, opaque, reply.code)
        };
        answers.map(read).collect()
    };
    assert!(save(&mut desk).is_none());
    assert_eq!(desk.post(request::PUT_KV_CONFIG, 1, 0, &put("first"), b""), b"");
    assert_eq!(save(&mut desk), Some(KeptFile::KeyValues));
    assert_eq!(value(&mut desk), None, "it is not on disk yet");

    // What comes meanwhile is written together, by file, in the order of asking.
    desk.connection = ConnectionKey(2);
    desk.post(request::PUT_KV_CONFIG, 2, 0, &put("second"), b"");
    desk.post(request::PUT_KV_CONFIG, 3, FLAG_ONEWAY, &put("third"), b"");
    let huge = "x".repeat(limits::KEY_VALUE_BYTES_MAX);
    let other = [("namespace", "n"), ("key", "huge"), ("value", huge.as_str())];
    desk.post(request::PUT_KV_CONFIG, 4, 0, &other, b"");
    desk.post(request::UPDATE_NAMESRV_CONFIG, 5, 0, &[], b"orderMessageEnable=true");
    desk.post(request::DELETE_KV_CONFIG, 6, 0, &KEY, b"");
    assert!(save(&mut desk).is_none(), "one is being written");
    assert_eq!(answers(&mut desk), [(1, 1, 0)]);

    assert_eq!(save(&mut desk), Some(KeptFile::KeyValues));
    assert_eq!(answers(&mut desk), [(2, 2, 0), (2, 4, 1)], "what does not fit is refused alone");
    desk.connection = ConnectionKey(3);
    let shown = desk.post(request::GET_KV_CONFIG, 7, 0, &KEY, b"");
    assert_eq!(read(&shown).1.ext["value"], "third");
    assert_eq!(save(&mut desk), Some(KeptFile::Settings));
    assert_eq!(answers(&mut desk), [(2, 5, 0)]);
    assert_eq!(save(&mut desk), Some(KeptFile::KeyValues));
    assert_eq!(answers(&mut desk), [(2, 6, 0)]);
    assert!(save(&mut desk).is_none());
    assert_eq!(value(&mut desk), None);
}

#[test]
fn more_changes_than_a_slow_disk_takes_are_told_to_come_again() {
    let mut desk = Desk::new();
    let busy = refused(2, "[OVERLOAD]system busy, start flow control for a while");
    for opaque in 0..limits::CHANGES_WAITING_MAX as i32 {
        assert_eq!(desk.post(request::DELETE_KV_CONFIG, opaque, 0, &KEY, b""), b"");
    }
    let answer = desk.post(request::DELETE_KV_CONFIG, -1, 0, &KEY, b"");
    assert_eq!(read(&answer), (-1, busy.clone()));
    assert_eq!(desk.save().len(), limits::CHANGES_WAITING_MAX);

    let large = "x".repeat(limits::KEY_VALUE_BYTES_MAX / 2);
    let large = [&KEY[..], &[("value", large.as_str())]].concat();
    let fit = (0..).take_while(|_| desk.post(request::PUT_KV_CONFIG, 0, 0, &large, b"").is_empty());
    assert_eq!(fit.count(), 3);
    assert_eq!(desk.save().len(), 3);
    assert_eq!(desk.ask(request::DELETE_KV_CONFIG, &KEY, b""), done());
}

#[test]
fn fields_of_key_values_are_all_needed() {
    let mut desk = Desk::new();
    for (code, fields) in [(100, 3), (101, 2), (102, 2), (219, 1)] {
        let all = &put("v")[..fields];
        for missing in 0..fields {
            let mut ext = all.to_vec();
            let (name, _) = ext.remove(missing);
            let remark = format!(
                "org.apache.rocketmq.remoting.exception.RemotingCommandException: the custom field \
                 <{name}> is null"
            );
            assert_eq!(desk.ask(code, &ext, b""), refused(1, &remark), "{code}");
        }
    }
    assert!(desk.disk.0.is_empty());
}

#[test]
fn settings_hold_at_once_and_after_a_restart() {
    let mut desk = Desk::new();
    desk.register(&master());
    assert_eq!(desk.ask(request::GET_ALL_TOPIC_LIST_FROM_NAMESERVER, &[], b"").code, 0);
    assert_eq!(set(&mut desk, "enableAllTopicList=false\nlistenPort=1\n"), (0, String::new()));
    let list = |desk: &mut Desk| desk.ask(request::GET_ALL_TOPIC_LIST_FROM_NAMESERVER, &[], b"");
    assert_eq!(list(&mut desk), refused(1, "disable"));
    assert_eq!(
        set(&mut desk, "needWaitForService=true\nwaitSecondsForService=600"),
        (0, String::new())
    );
    let route = desk.ask(request::GET_ROUTEINFO_BY_TOPIC, &[("topic", "T")], b"");
    assert_eq!(route, refused(1, "name server not ready"));
    desk.restart();
    assert_eq!(list(&mut desk), refused(1, "disable"));
    let text = settings(&mut desk);
    assert!(
        text.contains("waitSecondsForService=600\n") && text.contains("needWaitForService=true\n")
    );
    assert_eq!(set(&mut desk, "enableAllTopicList=true"), (0, String::new()));
    assert_eq!(list(&mut desk).code, 0);
}

#[test]
fn settings_that_cannot_be_set_are_refused_as_by_rocketmq() {
    let mut desk = Desk::new();
    let before = settings(&mut desk);
    let black = (16, "Can not update config in black list.".to_owned());
    for key in ["kvConfigPath", "configStorePath", "rocketmqHome", "configBlackList"] {
        assert_eq!(set(&mut desk, &format!("enableTopicList=false\n{key}=/tmp/x")), black);
    }
    assert_eq!(set(&mut desk, "a=\\uzzzz"), (1, "string2Properties error".to_owned()));
    assert_eq!(set(&mut desk, ""), (0, String::new()));
    assert_eq!(set(&mut desk, "no such key=1\nbindAddress=0.0.0.0"), (0, String::new()));
    let remark = "waitSecondsForService=ever: a whole number from 0 to 3600 is expected".to_owned();
    assert_eq!(set(&mut desk, "enableTopicList=false\nwaitSecondsForService=ever"), (1, remark));
    let long = "#".repeat(limits::SETTINGS_BYTES_MAX + 1);
    let remark = "65537 bytes of configuration are more than the limit of 65536".to_owned();
    assert_eq!(set(&mut desk, &long), (1, remark));
    assert_eq!(settings(&mut desk), before);
    assert!(desk.disk.1.is_empty(), "nothing was written");
}

#[test]
fn settings_are_shown_as_properties_in_order() {
    let fixed = vec![("listenPort", "9876".to_owned()), ("kvConfigPath", "/s/kv".to_owned())];
    let beginning = Beginning { fixed, ..Beginning::default() };
    let mut desk = Desk::new();
    desk.server = NameServer::new(desk.now_ms, beginning);
    let expect = "configBlackList=configBlackList;configStorePath;kvConfigPath;rocketmqHome\n\
                  deleteTopicWithBrokerRegistration=false\n\
                  enableAllTopicList=true\n\
                  enableTopicList=true\n\
                  kvConfigPath=/s/kv\n\
                  listenPort=9876\n\
                  needWaitForService=false\n\
                  orderMessageEnable=false\n\
                  returnOrderTopicConfigToBroker=true\n\
                  scanNotActiveBrokerInterval=5000\n\
                  supportActingMaster=false\n\
                  waitSecondsForService=45\n";
    assert_eq!(settings(&mut desk), expect);
}
