package health

import (
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"releaselifecycle.dev/engine/internal/protocol"
)

func evaluate(t *testing.T, check protocol.HealthCheck, object string) protocol.Verdict {
	t.Helper()
	answer, err := Evaluate(&protocol.Evaluate{
		Checks:  []protocol.HealthCheck{check},
		Objects: []protocol.Checked{{Object: json.RawMessage(object)}},
	})
	if err != nil || len(answer.Verdicts) != 1 {
		t.Fatalf("%+v: %+v %v", check, answer, err)
	}
	return answer.Verdicts[0]
}

func TestVerdicts(t *testing.T) {
	const current = "status.phase == 'Ready'"
	for _, c := range []struct {
		check  protocol.HealthCheck
		object string
		want   protocol.Verdict
	}{
		{protocol.HealthCheck{Current: current}, `{"status":{"phase":"Ready"}}`, protocol.Verdict{Verdict: "Current", Field: "current"}},
		{protocol.HealthCheck{Current: current}, `{"status":{"phase":"Busy"}}`, protocol.Verdict{Verdict: "InProgress", Field: "current"}},
		{protocol.HealthCheck{Current: current}, `{"status":{}}`,
			protocol.Verdict{Verdict: "InProgress", Field: "current", Message: "no such key: phase"}},
		{protocol.HealthCheck{Current: current}, `{}`,
			protocol.Verdict{Verdict: "InProgress", Field: "current", Message: "no such attribute: status"}},
		// In this order.
		{protocol.HealthCheck{Current: "true", Failed: "true", InProgress: "true"}, `{}`, protocol.Verdict{Verdict: "InProgress", Field: "inProgress"}},
		{protocol.HealthCheck{Current: "true", Failed: "true", InProgress: "false"}, `{}`, protocol.Verdict{Verdict: "Failed", Field: "failed"}},
		{protocol.HealthCheck{Current: "true", Failed: "status.x"}, `{"status":{}}`,
			protocol.Verdict{Verdict: "InProgress", Field: "failed", Message: "no such key: x"}},
		{protocol.HealthCheck{Current: "status.x"}, `{"status":{"x":1}}`,
			protocol.Verdict{Verdict: "InProgress", Field: "current", Message: "is not a bool"}},
	} {
		if got := evaluate(t, c.check, c.object); got != c.want {
			t.Errorf("%+v of %s: %+v", c.check, c.object, got)
		}
	}
}

func TestWhatFluxUsersWrite(t *testing.T) {
	const object = `{"apiVersion":"a.example/v1","kind":"Widget","metadata":{"name":"w","generation":2},
		"type":"Opaque","data":{"a":"aGk="},"spec":{"replicas":3},
		"status":{"observedGeneration":2,"ready":3,"ratio":0.5,"since":"2026-01-01T00:00:00Z",
		"conditions":[{"type":"Synced","status":"True"},{"type":"Ready","status":"True"}]}}`
	for _, text := range []string{
		"status.conditions.filter(e, e.type == 'Synced').all(e, e.status == 'True')",
		"status.conditions.exists(e, e.type == 'Ready' && e.status == 'True')",
		"status.?missing.orValue('x') == 'x'",
		"has(status.observedGeneration) && metadata.generation == status.observedGeneration",
		"status.ready + 1 == 4 && status.ready > 2.5 && status.ratio < 1",
		"metadata.name.upperAscii().replace('W', 'x').split('x').join('-') == '-'",
		"sets.contains(['Synced', 'Ready'], status.conditions.map(c, c.type))",
		"string(base64.decode(data.a)) == 'hi'",
		"type == 'Opaque' && type(status.ready) == int",
		"timestamp(status.since).getFullYear() == 2026",
		"kind.matches('^W') && apiVersion.startsWith('a.example/')",
		"optional.of(1).hasValue() && 'x'.format([]) == 'x'",
		"spec.replicas == status.ready ? true : false",
		"1 in [1, '1'] ",
	} {
		if got := evaluate(t, protocol.HealthCheck{Current: text}, object); got.Verdict != protocol.Current {
			t.Errorf("%s: %+v", text, got)
		}
	}
}

func TestWhatDoesNotCompile(t *testing.T) {
	for text, words := range map[string]string{
		"status.phase == ":                                    "line 1, column 17: Syntax error",
		"status.phase = 'x'":                                  "line 1, column 14: Syntax error",
		"true &&\n shiny(status)":                             "line 2, column 7: undeclared reference to 'shiny'",
		"status.conditions.exists(1, true)":                   "must be a simple name",
		"1 + 1":                                               "must be a bool, and is int",
		"'a' + 1 == 'b'":                                      "no matching overload",
		strings.Repeat("(", 1000) + "true":                    "",
		strings.Repeat("!", 2000) + "true":                    "",
		"true ||" + strings.Repeat(" ", maxLength):            "longer than 2048 bytes",
		strings.Repeat("[", 1024) + strings.Repeat("]", 1023): "",
	} {
		began := time.Now()
		answer, err := Evaluate(&protocol.Evaluate{
			Checks:  []protocol.HealthCheck{{Current: "true"}, {Current: "true", Failed: text}},
			Objects: []protocol.Checked{{Check: 1, Object: json.RawMessage("{}")}},
		})
		if err != nil || len(answer.Invalid) != 1 {
			if strings.HasPrefix(text, "!") && err == nil {
				continue // It is long, and right.
			}
			t.Errorf("%.40q: %+v %v", text, answer, err)
			continue
		}
		it := answer.Invalid[0]
		if it.Check != 1 || it.Field != "failed" || !strings.Contains(it.Message, words) || len(it.Message) > maxInvalid+10 ||
			strings.Contains(it.Message, "\n") || it.Message == "" {
			t.Errorf("%.40q: %+v", text, it)
		}
		if got := answer.Verdicts[0]; got.Verdict != protocol.InProgress || got.Message != it.Message {
			t.Errorf("%.40q: %+v", text, got)
		}
		if took := time.Since(began); took > 2*time.Second {
			t.Errorf("%.40q took %s", text, took)
		}
	}
}

// No error repeats a value of the object: it may be a Secret.
func TestErrorsHoldNoValue(t *testing.T) {
	const object = `{"data":{"password":"hunter2","other":"hunter3"},"map":{},"list":[1]}`
	for _, text := range []string{
		"int(data.password) > 1", "timestamp(data.password) > timestamp('2026-01-01T00:00:00Z')",
		"duration(data.password) > duration('1s')", "map[data.password]", "data[data.password]", "data.password",
		"data.other.matches(data.password + '(')", "data.password.charAt(100) == 'x'", "bool(data.password)",
		"data.password + 1 == 2", "list[data.password] == 1", "'%d'.format([data.password]) == 'x'",
		"base64.decode(data.password + '!') == b'x'", "data.password.foo", "double(data.password) > 1.0", "list[7] == 1",
		"1 / (size(list) - 1) == 1",
	} {
		got := evaluate(t, protocol.HealthCheck{Current: text}, object)
		if got.Verdict != protocol.InProgress || got.Message == "" || strings.Contains(got.Message, "hunter") {
			t.Errorf("%s: %+v", text, got)
		}
	}
}

func TestHostileExpressions(t *testing.T) {
	items := strings.TrimSuffix(strings.Repeat("1,", 100_000), ",")
	large, err := json.Marshal(strings.Repeat("a", 1<<20))
	if err != nil {
		t.Fatal(err)
	}
	object := fmt.Sprintf(`{"items":[%s],"text":%s}`, items, large)
	doubled := "'aaaaaaaaaaaaaaaa'" + strings.Repeat(".replace('a','aaaaaaaaaaaaaaaa')", 40)
	added := "['a'].map(a, " + strings.Repeat("[a + a].map(a, ", 40) + "a" + strings.Repeat(")", 40) + ").size() == 0"
	lists := "[[1]]" + strings.Repeat(".map(a, a + a)", 40) + ".all(a, a == a)"
	for _, text := range []string{
		lists,
		strings.Replace(lists, "a == a", "2 in a", 1),
		"items.all(a, items.all(b, items.all(c, a + b + c > 0)))",
		"items.map(a, items.map(b, [a, b])).size() > 1",
		"items.filter(a, items.exists(b, items.exists_one(c, a != c))).size() > 1",
		doubled + " == ''",
		added,
		"items.all(a, !text.matches('(a*)*b' + string(a)))",
		"items.all(a, (text + text + text + text).size() > 0)",
		"items.map(a, text).join('') == text",
		"items.all(a, text.split('').size() > 0)",
		"items.all(a, text.replace('', 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa').size() > 0)",
		"items.all(a, sets.contains(items, items))",
		"items.all(a, items == items)",
		"items.all(a, !text.contains('aaaaaaaaaaaaaaaaaab'))",
		"items.all(a, text.lastIndexOf('ab') < 0)",
		"items.all(a, base64.encode(bytes(text)).size() > 0)",
		"items.all(a, text.format([]).size() > 0)",
		"items.all(a, '%s%s%s%s'.format([text, text, text, text]).size() > 0)",
		"items.all(a, string(bytes(text)).reverse().size() > 0)",
		"items.all(a, !(a in [items, items, text]))",
		"[1, 2, 3].all(a, {'a': {'b': items}} == {'a': {'b': items}})",
		"[[text]].map(a, [a, a, a, a, a, a, a, a, a, a]).map(a, [a, a, a, a, a, a, a]) == [[text]]",
	} {
		runtime.GC()
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		began := time.Now()
		got := evaluate(t, protocol.HealthCheck{Current: text}, object)
		took := time.Since(began)
		runtime.ReadMemStats(&after)
		t.Logf("%5d ms %4d MiB %.60s: %s", took.Milliseconds(), (after.TotalAlloc-before.TotalAlloc)>>20, text, got.Message)
		isLate := got.Verdict == protocol.Unknown && got.Message == "it takes more than half a second"
		if !isLate && (got.Verdict != protocol.InProgress || got.Message != "it exceeds the cost limit") {
			t.Errorf("%.60s: %+v", text, got)
		}
		// A busy machine takes longer; without limits it were minutes.
		if took > 10*time.Second || after.TotalAlloc-before.TotalAlloc > 256<<20 {
			t.Errorf("%.60s took %s and %d MiB", text, took, (after.TotalAlloc-before.TotalAlloc)>>20)
		}
	}
}

func TestAllExpressionsHaveOneBudget(t *testing.T) {
	items := strings.TrimSuffix(strings.Repeat("1,", 2000), ",")
	request := &protocol.Evaluate{Checks: []protocol.HealthCheck{{Current: "items.all(a, items.all(b, a > 1 || b > 0))"}}}
	for range 200 {
		request.Objects = append(request.Objects, protocol.Checked{Object: json.RawMessage(`{"items":[` + items + `]}`)})
	}
	began := time.Now()
	answer, err := Evaluate(request)
	if err != nil || len(answer.Verdicts) != 200 {
		t.Fatal(err)
	}
	if first := answer.Verdicts[0].Message; !strings.Contains(first, "it exceeds the cost limit") && !strings.Contains(first, "half a second") {
		t.Error(first)
	}
	if answer.Verdicts[199].Verdict != protocol.Unknown {
		t.Errorf("%+v", answer.Verdicts[199])
	}
	if last := answer.Verdicts[199].Message; last != "the health checks of other objects have used up the cost limit" {
		t.Error(last)
	}
	if took := time.Since(began); took > 10*time.Second {
		t.Error(took)
	}
}

func TestRequestsThatAreNone(t *testing.T) {
	for _, object := range []protocol.Checked{{Check: 1, Object: json.RawMessage("{}")}, {Check: -1, Object: json.RawMessage("{}")},
		{Object: json.RawMessage("[]")}, {Object: json.RawMessage("null")}, {Object: json.RawMessage("{")}} {
		_, err := Evaluate(&protocol.Evaluate{Checks: []protocol.HealthCheck{{Current: "true"}}, Objects: []protocol.Checked{object}})
		var problem *protocol.Error
		if !errors.As(err, &problem) || problem.Kind != protocol.BadRequest {
			t.Errorf("%+v: %v", object, err)
		}
	}
}
