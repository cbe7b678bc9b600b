// Package elsewhere checks what packaging/ has for other ways to install than the Debian package: container, compose
// file, Kubernetes, AWS IoT Greengrass, Home Assistant, Yocto, and the workflows. None of them runs here; what they name
// has to exist, and the agent has to accept the configuration that they make.
package elsewhere

import (
	"crypto/md5" // what Yocto compares licences with
	"encoding/hex"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"go.yaml.in/yaml/v3"
)

const root = "../.."

// installed are the paths of the Debian package that the files name.
var installed = []string{
	"/usr/bin/edge-agent", "/usr/libexec/edge-agent/edge-agent-renderer", "/etc/edge-agent/config.toml",
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, path))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// documents reads the YAML documents of a file.
func documents(t *testing.T, path string) (all []map[string]any) {
	t.Helper()
	decoder := yaml.NewDecoder(strings.NewReader(read(t, path)))
	for {
		var document map[string]any
		err := decoder.Decode(&document)
		if err != nil && err.Error() == "EOF" {
			return all
		}
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		if document != nil {
			all = append(all, document)
		}
	}
}

// at follows names (of tables) and numbers (of lists) into a document.
func at[T any](t *testing.T, value any, path ...any) (found T) {
	t.Helper()
	for _, step := range path {
		switch step := step.(type) {
		case string:
			value = value.(map[string]any)[step]
		case int:
			value = value.([]any)[step]
		}
	}
	found, ok := value.(T)
	if !ok {
		t.Fatalf("%v is %v", path, value)
	}
	return found
}

// texts are the elements of a list.
func texts(values []any) (all []string) {
	for _, value := range values {
		text, _ := value.(string)
		all = append(all, text)
	}
	return all
}

var agent = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "edge-agent-elsewhere-")
	if err != nil {
		return "", err
	}
	program := filepath.Join(dir, "edge-agent")
	build := exec.Command("go", "build", "-race=false", "-buildvcs=false", "-o", program, "./cmd/edge-agent")
	build.Dir, build.Env = root, append(os.Environ(), "CGO_ENABLED=0")
	build.Stderr = os.Stderr
	return program, build.Run()
})

func TestMain(m *testing.M) {
	code := m.Run()
	if program, err := agent(); err == nil {
		os.RemoveAll(filepath.Dir(program))
	}
	os.Exit(code)
}

// checks lets the agent check a configuration, with nothing in its environment but what is given.
func checks(t *testing.T, config string, environment map[string]string) {
	t.Helper()
	program, err := agent()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "config.toml")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "config", "check", "--config", file)
	cmd.Env = []string{"HOME=" + t.TempDir()}
	for _, name := range slices.Sorted(maps.Keys(environment)) {
		cmd.Env = append(cmd.Env, name+"="+environment[name])
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v with %q: %v\n%s", cmd.Args, cmd.Env, err, out)
	}
}

// secret makes a file with a secret, for a key that names one.
func secret(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, []byte("not a real secret 0123456789abcdef\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestEveryYAMLFileParses(t *testing.T) {
	var found int
	for _, dir := range []string{"packaging", ".github"} {
		err := filepath.WalkDir(filepath.Join(root, dir), func(path string, d os.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(path, ".yaml") && !strings.HasSuffix(path, ".yml") {
				return err
			}
			found++
			path, err = filepath.Rel(root, path)
			documents(t, path)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if found < 10 {
		t.Errorf("only %d files", found)
	}
}

// Every variable that any of the files sets stands for a key, and nothing else is written so.
func TestVariablesOfTheAgentExist(t *testing.T) {
	known := map[string]bool{
		"EDGE_AGENT_STREAMS": true, "EDGE_AGENT_KEY": true,
		// of the files themselves: the image and the name of the box, and where the run script looks
		"EDGE_AGENT_IMAGE": true, "EDGE_AGENT_ID": true, "EDGE_AGENT_OPTIONS": true, "EDGE_AGENT_PRIVATE": true,
	}
	table := ""
	for line := range strings.Lines(read(t, "config.toml")) {
		if name, ok := strings.CutPrefix(strings.TrimSpace(line), "["); ok {
			table = strings.TrimRight(name, "]")
		} else if key, _, ok := strings.Cut(line, " = "); ok && !strings.HasPrefix(line, "#") {
			known["EDGE_AGENT_"+strings.ToUpper(strings.ReplaceAll(table+"."+key, ".", "_"))] = true
		}
	}
	variable := regexp.MustCompile(`EDGE_AGENT_[A-Z_]*[A-Z]`)
	for _, dir := range []string{"container", "kubernetes", "greengrass", "home-assistant", "yocto"} {
		err := filepath.WalkDir(filepath.Join(root, "packaging", dir), func(path string, d os.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			text, err := os.ReadFile(path)
			for _, name := range variable.FindAllString(string(text), -1) {
				if !known[name] {
					t.Errorf("%s: %s stands for no key", path, name)
				}
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// containerEnvironment is what the image sets for the agent.
func containerEnvironment(t *testing.T) map[string]string {
	t.Helper()
	environment := map[string]string{}
	_, text, _ := strings.Cut(read(t, "packaging/container/Containerfile"), "\nENV ")
	text, _, _ = strings.Cut(text, "\n\n")
	for _, m := range regexp.MustCompile(`([A-Z_]+)=(\S+)`).FindAllStringSubmatch(text, -1) {
		environment[m[1]] = m[2]
	}
	if len(environment) != 3 {
		t.Fatalf("environment of the image: %v", environment)
	}
	return environment
}

func TestContainer(t *testing.T) {
	checks(t, read(t, "config.toml"), containerEnvironment(t))
	text := read(t, "packaging/container/Containerfile")
	for _, want := range []string{
		"\nUSER 10001:10001\n", "\nVOLUME /var/lib/edge-agent\n", "\nHEALTHCHECK ", "\nENTRYPOINT [\"" + installed[0] + "\"]\n",
		"COPY dist/edge-agent_*_${TARGETARCH}.deb ",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("not in the Containerfile: %q", want)
		}
	}
}

// placeholder is a variable of compose with the value it has when it is not set.
var placeholder = regexp.MustCompile(`\$\{[A-Za-z_]+:-([^}]*)\}`)

func TestCompose(t *testing.T) {
	compose := documents(t, "packaging/container/compose.yaml")[0]
	service := at[map[string]any](t, compose, "services", "edge-agent")
	environment := containerEnvironment(t)
	for name, value := range at[map[string]any](t, service, "environment") {
		environment[name] = placeholder.ReplaceAllString(value.(string), "$1")
	}
	checks(t, "", environment)
	for name, value := range at[map[string]any](t, compose, "services") {
		if at[bool](t, value, "read_only") != true || !slices.Equal(texts(at[[]any](t, value, "cap_drop")), []string{"ALL"}) {
			t.Errorf("%s is not confined", name)
		}
		if value.(map[string]any)["privileged"] != nil {
			t.Errorf("%s is privileged", name)
		}
		for _, port := range texts(at[[]any](t, value, "ports")) {
			if !strings.HasPrefix(port, "127.0.0.1:") {
				t.Errorf("%s publishes %s to everybody", name, port)
			}
		}
	}
	if !slices.Contains(texts(at[[]any](t, service, "volumes")), "/dev/dri:/dev/dri") {
		t.Error("/dev/dri is not there as a folder")
	}
}

// What `kubectl apply --dry-run` and kubeconform would look at, for the fields that are used here.
func TestKubernetes(t *testing.T) {
	objects := documents(t, "packaging/kubernetes/edge-agent.yaml")
	fields := map[string][]string{
		"container": {
			"name", "image", "args", "command", "env", "envFrom", "ports", "startupProbe", "livenessProbe", "readinessProbe", "resources",
			"securityContext", "volumeMounts",
		},
		"pod": {
			"nodeSelector", "priorityClassName", "automountServiceAccountToken", "enableServiceLinks", "terminationGracePeriodSeconds", "tolerations",
			"securityContext", "initContainers", "containers", "volumes",
		},
	}
	only := func(what string, value map[string]any) {
		for name := range value {
			if !slices.Contains(fields[what], name) {
				t.Errorf("a %s has no field %s", what, name)
			}
		}
	}
	var config string
	for _, object := range objects {
		switch kind := at[string](t, object, "kind"); kind {
		case "Namespace":
		case "ConfigMap":
			config = at[string](t, object, "data", "config.toml")
		case "DaemonSet":
			if at[string](t, object, "apiVersion") != "apps/v1" {
				t.Error("apiVersion of a DaemonSet")
			}
			selector, labels := at[map[string]any](t, object, "spec", "selector", "matchLabels"), at[map[string]any](t, object, "spec", "template", "metadata", "labels")
			if !maps.Equal(selector, labels) {
				t.Errorf("the selector %v does not select %v", selector, labels)
			}
			pod := at[map[string]any](t, object, "spec", "template", "spec")
			only("pod", pod)
			var volumes []string
			for _, volume := range at[[]any](t, pod, "volumes") {
				volumes = append(volumes, at[string](t, volume, "name"))
			}
			containers := at[[]any](t, pod, "containers")
			if more, ok := pod["initContainers"].([]any); ok {
				containers = append(containers, more...)
			}
			for _, c := range containers {
				only("container", c.(map[string]any))
				for _, mount := range at[[]any](t, c, "volumeMounts") {
					if name := at[string](t, mount, "name"); !slices.Contains(volumes, name) {
						t.Errorf("there is no volume %s", name)
					}
				}
			}
		default:
			t.Errorf("unknown kind %s", kind)
		}
	}
	plugin, daemon := objects[2], objects[3]
	container := at[map[string]any](t, daemon, "spec", "template", "spec", "containers", 0)
	security := at[map[string]any](t, container, "securityContext")
	if security["privileged"] != nil || security["readOnlyRootFilesystem"] != true || security["allowPrivilegeEscalation"] != false {
		t.Errorf("the agent is not confined: %v", security)
	}
	environment := containerEnvironment(t)
	for _, variable := range at[[]any](t, container, "env") {
		if value, ok := variable.(map[string]any)["value"].(string); ok {
			environment[at[string](t, variable, "name")] = value
		}
	}
	environment["EDGE_AGENT_AGENT_ID"] = "node-1"
	if environment["EDGE_AGENT_HTTP_TOKEN_FILE"] != "/etc/edge-agent-secret/http-token" {
		t.Error("the token is not the one of the Secret")
	}
	environment["EDGE_AGENT_HTTP_TOKEN_FILE"] = secret(t)
	checks(t, config, environment)

	// The device that the agent asks for is the one that the plugin offers.
	args := texts(at[[]any](t, plugin, "spec", "template", "spec", "containers", 0, "args"))
	if strings.Contains(args[3], "*") {
		t.Error("a pattern, which stands for one device of several")
	}
	var device struct{ Name string }
	if err := yaml.Unmarshal([]byte(args[3]), &device); err != nil {
		t.Fatal(err)
	}
	if limits := at[map[string]any](t, container, "resources", "limits"); limits[args[1]+"/"+device.Name] != 1 {
		t.Errorf("the agent does not ask for %s/%s: %v", args[1], device.Name, limits)
	}
}

// The fields are those of the component recipe reference. Greengrass does not resolve anchors, so that the life cycle
// stands once for each architecture.
func TestGreengrass(t *testing.T) {
	recipe := documents(t, "packaging/greengrass/recipe.yaml")[0]
	only := func(value map[string]any, fields ...string) {
		t.Helper()
		for name := range value {
			if !slices.Contains(fields, name) {
				t.Errorf("unknown field %s", name)
			}
		}
	}
	only(recipe, "RecipeFormatVersion", "ComponentName", "ComponentVersion", "ComponentType", "ComponentDescription", "ComponentPublisher",
		"ComponentConfiguration", "ComponentDependencies", "Manifests")
	if at[string](t, recipe, "RecipeFormatVersion") != "2020-01-25" {
		t.Error("RecipeFormatVersion")
	}
	if text := read(t, "packaging/greengrass/recipe.yaml"); regexp.MustCompile(`(?m): [&*][a-z]`).MatchString(text) {
		t.Error("an anchor, which Greengrass does not resolve")
	}
	settings := at[map[string]any](t, recipe, "ComponentConfiguration", "DefaultConfiguration")
	version := at[string](t, recipe, "ComponentVersion")
	manifests := at[[]any](t, recipe, "Manifests")
	var lifecycles []string
	for i, debian := range []string{"amd64", "arm64"} {
		manifest := at[map[string]any](t, manifests, i)
		only(manifest, "Name", "Platform", "Artifacts", "Lifecycle")
		artifact := at[map[string]any](t, manifest, "Artifacts", 0)
		only(artifact, "URI", "Unarchive", "Permission")
		uri := "s3://BUCKET/" + at[string](t, recipe, "ComponentName") + "/" + version + "/edge-agent_" + version + "-1_" + debian + ".deb"
		if got := at[string](t, artifact, "URI"); got != uri {
			t.Errorf("artifact %s, want %s", got, uri)
		}
		lifecycle := at[map[string]any](t, manifest, "Lifecycle")
		only(lifecycle, "Install", "Startup", "Shutdown")
		for _, step := range lifecycle {
			only(step.(map[string]any), "RequiresPrivilege", "Timeout", "Script")
			shell(t, at[string](t, step, "Script"))
		}
		text, err := yaml.Marshal(lifecycle)
		if err != nil {
			t.Fatal(err)
		}
		lifecycles = append(lifecycles, string(text))
	}
	if len(manifests) != 2 || lifecycles[0] != lifecycles[1] {
		t.Error("the life cycles of the two architectures differ")
	}
	startup := at[string](t, manifests, 0, "Lifecycle", "Startup", "Script")
	environment, used := map[string]string{}, map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^(EDGE_AGENT_[A-Z_]+)=\{configuration:/([A-Za-z]+)\}$`).FindAllStringSubmatch(startup, -1) {
		value, ok := settings[m[2]].(string)
		if !ok {
			t.Errorf("%s is not in the default configuration", m[2])
		}
		used[m[2]] = true
		if value != "" {
			environment[m[1]] = value
		}
	}
	if len(used) != len(settings) {
		t.Errorf("the service gets %v of %v", used, settings)
	}
	checks(t, read(t, "config.toml"), environment)
}

// shell lets the shell read a script without running it.
func shell(t *testing.T, script string) {
	t.Helper()
	cmd := exec.Command("sh", "-n")
	cmd.Stdin = strings.NewReader(script)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("sh -n: %v: %s", err, out)
	}
}

// bashio stands in for the library of Home Assistant's base image.
const bashio = `
bashio::services.available() { [ "$1" = mqtt ]; }
bashio::var.true() { [ "$1" = true ]; }
bashio::services() {
	case "$1 $2" in
	"mqtt host") echo core-mosquitto ;;
	"mqtt port") echo 1883 ;;
	"mqtt ssl") echo false ;;
	"mqtt username") echo "$BROKER_USER" ;;
	"mqtt password") echo "not a real password" ;;
	esac
}
. "$SCRIPT" config check
`

// The run script makes a valid configuration of the options that the app begins with.
func TestHomeAssistantRunScript(t *testing.T) {
	for _, program := range []string{"bash", "jq"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("needs %s", program)
		}
	}
	program, err := agent()
	if err != nil {
		t.Fatal(err)
	}
	app := documents(t, "packaging/home-assistant/edge-agent/config.yaml")[0]
	options, err := yaml.Marshal(at[map[string]any](t, app, "options"))
	if err != nil {
		t.Fatal(err)
	}
	script, err := filepath.Abs(filepath.Join(root, "packaging/home-assistant/edge-agent/run.sh"))
	if err != nil {
		t.Fatal(err)
	}
	for user, password := range map[string]string{"addons": "not a real password\n", "null": ""} { // as bashio says it of a broker without users
		dir := t.TempDir()
		asJSON(t, options, filepath.Join(dir, "options.json"))
		cmd := exec.Command("bash", "-c", bashio)
		cmd.Env = []string{
			"SCRIPT=" + script, "PATH=" + filepath.Dir(program) + ":" + os.Getenv("PATH"), "HOME=" + dir, "BROKER_USER=" + user,
			"EDGE_AGENT_OPTIONS=" + filepath.Join(dir, "options.json"), "EDGE_AGENT_PRIVATE=" + filepath.Join(dir, "private"),
		}
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", user, err, out)
		}
		if got, _ := os.ReadFile(filepath.Join(dir, "private", "mqtt-password")); string(got) != password {
			t.Errorf("%s: the password is %q", user, got)
		}
		if token, err := os.ReadFile(filepath.Join(dir, "private", "http-token")); len(token) < 16 {
			t.Errorf("%s: the token is %q, %v", user, token, err)
		}
	}
}

// Every option has a schema and a text in every language, and nothing else has.
func TestHomeAssistantApp(t *testing.T) {
	const app = "packaging/home-assistant/edge-agent/"
	config := documents(t, app+"config.yaml")[0]
	schema := at[map[string]any](t, config, "schema")
	for option := range at[map[string]any](t, config, "options") {
		if schema[option] == nil {
			t.Errorf("option %s has no schema", option)
		}
	}
	for _, language := range []string{"en", "de"} {
		told := at[map[string]any](t, documents(t, app+"translations/"+language+".yaml")[0], "configuration")
		if a, b := slices.Sorted(maps.Keys(told)), slices.Sorted(maps.Keys(schema)); !slices.Equal(a, b) {
			t.Errorf("%s has texts for %v, want %v", language, a, b)
		}
	}
	if at[bool](t, config, "video") != true || at[bool](t, config, "udev") != true || at[bool](t, config, "audio") != true {
		t.Error("devices")
	}
	if !regexp.MustCompile(`^http://\[HOST\]:\[PORT:\d+\]/healthz$`).MatchString(at[string](t, config, "watchdog")) {
		t.Error("watchdog")
	}
	arch := texts(at[[]any](t, config, "arch"))
	if from := at[map[string]any](t, documents(t, app+"build.yaml")[0], "build_from"); !slices.Equal(slices.Sorted(maps.Keys(from)), slices.Sorted(slices.Values(arch))) {
		t.Errorf("bases for %v, want %v", from, arch)
	}
	if !strings.Contains(read(t, app+"Dockerfile"), "ARG BUILD_VERSION="+at[string](t, config, "version")+"\n") {
		t.Error("the Dockerfile has another version than config.yaml")
	}
}

func TestYoctoLicence(t *testing.T) {
	sum := md5.Sum([]byte(read(t, "LICENSE")))
	recipe := read(t, "packaging/yocto/recipes-edge-agent/edge-agent/edge-agent.inc")
	if want := "LICENSE;md5=" + hex.EncodeToString(sum[:]); !strings.Contains(recipe, want) {
		t.Errorf("the recipe does not have %s", want)
	}
}

// An action is named by the digest of what it was when somebody looked, and a target that a workflow calls exists.
func TestWorkflows(t *testing.T) {
	makefile := read(t, "Makefile")
	files, err := filepath.Glob(filepath.Join(root, ".github/workflows/*.yml"))
	if err != nil || len(files) < 3 {
		t.Fatal(files, err)
	}
	pinned := regexp.MustCompile(`^[a-z-]+/[a-z-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$`)
	target := regexp.MustCompile(`(?:run: |; )make ([a-z -]+)`)
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			if _, action, ok := strings.Cut(line, "uses: "); ok && !pinned.MatchString(strings.TrimSpace(action)) {
				t.Errorf("%s: %s is not pinned", file, strings.TrimSpace(action))
			}
			for _, m := range target.FindAllStringSubmatch(line, -1) {
				for _, name := range strings.Fields(m[1]) {
					if !strings.Contains(makefile, "\n"+name+": ") {
						t.Errorf("%s: there is no target %s", file, name)
					}
				}
			}
		}
	}
}
