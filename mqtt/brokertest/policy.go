package brokertest

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
)

// Policy is a set of AWS IoT Core policy documents, which are evaluated as the Developer Guide
// says ("AWS IoT Core policies"), as far as ours go: allowing statements, the name of the thing
// as the only variable, and iot:ConnectAttributes as the only condition.
type Policy struct {
	statements []*statement

	mu   sync.Mutex
	used map[string]bool // resources that have allowed something
}

type statement struct {
	Effect    string
	Action    texts
	Resource  texts
	Condition map[string]map[string]texts
}

// texts is one text or a list of them.
type texts []string

func (t *texts) UnmarshalJSON(text []byte) error {
	var one string
	if json.Unmarshal(text, &one) == nil {
		*t = texts{one}
		return nil
	}
	return json.Unmarshal(text, (*[]string)(t))
}

const (
	thingVariable     = "${iot:Connection.Thing.ThingName}"
	connectAttributes = "iot:ConnectAttributes"
	onlyThese         = "ForAllValues:StringEquals"
)

// ParsePolicy reads policy documents.
func ParsePolicy(documents ...[]byte) (*Policy, error) {
	p := &Policy{used: make(map[string]bool)}
	for _, text := range documents {
		var document struct {
			Version   string
			Statement []*statement
		}
		if err := json.Unmarshal(text, &document); err != nil {
			return nil, fmt.Errorf("brokertest: policy: %w", err)
		}
		for _, s := range document.Statement {
			if s.Effect != "Allow" {
				return nil, fmt.Errorf("brokertest: policy: the effect %q is not understood", s.Effect)
			}
			for operator, keys := range s.Condition {
				if _, ok := keys[connectAttributes]; operator != onlyThese || !ok || len(keys) > 1 {
					return nil, fmt.Errorf("brokertest: policy: the condition %s %v is not understood", operator, keys)
				}
			}
		}
		p.statements = append(p.statements, document.Statement...)
	}
	return p, nil
}

// Allows tells whether a thing may do that: action is such as "iot:Publish", resource such as
// "topic/a/b", and attributes, of a connection, such as "LastWill".
func (p *Policy) Allows(thing, action, resource string, attributes ...string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	allowed := false
	for _, s := range p.statements {
		if !slices.Contains(s.Action, action) || !s.permits(attributes) {
			continue
		}
		for _, pattern := range s.Resource {
			if matches(strings.ReplaceAll(ownPart(pattern), thingVariable, thing), resource) {
				p.used[action+" "+pattern] = true
				allowed = true
			}
		}
	}
	return allowed
}

func (s *statement) permits(attributes []string) bool {
	keys, restricted := s.Condition[onlyThese]
	return !restricted || !slices.ContainsFunc(attributes, func(a string) bool { return !slices.Contains(keys[connectAttributes], a) })
}

// Unused are the actions on resources that have never allowed anything.
func (p *Policy) Unused() (unused []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, s := range p.statements {
		for _, action := range s.Action {
			for _, pattern := range s.Resource {
				if !p.used[action+" "+pattern] {
					unused = append(unused, action+" "+pattern)
				}
			}
		}
	}
	return unused
}

// ownPart is what stands in an ARN behind region and account.
func ownPart(arn string) string {
	parts := strings.SplitN(arn, ":", 6) // arn:aws:iot:region:account:resource
	return parts[len(parts)-1]
}

// matches knows the wildcards of policies: * is any text, ? any character. Those of MQTT are
// none here.
func matches(pattern, text string) bool {
	if pattern == "" {
		return text == ""
	}
	if pattern[0] == '*' {
		for i := range len(text) + 1 {
			if matches(pattern[1:], text[i:]) {
				return true
			}
		}
		return false
	}
	return text != "" && (pattern[0] == '?' || pattern[0] == text[0]) && matches(pattern[1:], text[1:])
}
