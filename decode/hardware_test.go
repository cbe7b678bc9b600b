package decode

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/edge-agent/edge-agent/decode/format"
	"github.com/edge-agent/edge-agent/decode/plan"
)

// The elements in the table of docs/hardware.md are those that are known here, in the families that
// it says: all of them, and no others.
func TestHardwareDocument(t *testing.T) {
	document, err := os.ReadFile("../docs/hardware.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(document), "| box |")
	table, _, _ = strings.Cut(table, "\n\n")
	rows := strings.Split(table, "\n")[2:]
	if len(rows) < 10 {
		t.Fatalf("the table of boxes has %d rows", len(rows))
	}
	written := map[format.Codec][]string{}
	for _, row := range rows {
		cells := strings.Split(row, "|")
		families := quotedIn(cells[4])
		for codec, cell := range map[format.Codec]string{format.H264: cells[5], format.H265: cells[6]} {
			for _, element := range quotedIn(cell) {
				known := plan.Candidates(codec, plan.Preference{}, []string{element})
				if len(known) == 0 {
					t.Errorf("%s is not known as a decoder of %s", element, codec)
				} else if family := string(known[0].Family); !slices.Contains(families, family) {
					t.Errorf("%s is of the family %s, and stands with %v", element, family, families)
				}
				written[codec] = append(written[codec], element)
			}
		}
	}
	for family, codecs := range plan.Patterns {
		for codec, names := range codecs {
			for _, name := range names {
				if !slices.ContainsFunc(written[codec], regexp.MustCompile("^"+name+"$").MatchString) {
					t.Errorf("%s (%s, %s) is not in the table", name, family, codec)
				}
			}
		}
	}
}

// Tests that the document names as its proof exist.
func TestHardwareDocumentProofs(t *testing.T) {
	document, err := os.ReadFile("../docs/hardware.md")
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob("../test/virtual-hardware/*/*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	var code strings.Builder
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		code.Write(b)
	}
	names := regexp.MustCompile(`\bTest[A-Z]\w+`).FindAllString(string(document), -1)
	if len(names) == 0 {
		t.Error("nothing is proven")
	}
	for _, name := range names {
		if !strings.Contains(code.String(), "func "+name+"(") {
			t.Errorf("there is no %s in test/virtual-hardware", name)
		}
	}
}

// quotedIn lists the words between backticks.
func quotedIn(text string) []string {
	var words []string
	for i, part := range strings.Split(text, "`") {
		if i%2 == 1 {
			words = append(words, part)
		}
	}
	return words
}
