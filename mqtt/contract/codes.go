package contract

import "strings"

// Severity says how bad an event is.
type Severity string

const (
	SeverityInfo    Severity = "info"    // routine, or good again
	SeverityWarning Severity = "warning" // the agent copes by itself
	SeverityError   Severity = "error"   // somebody has to do something
)

// Code is an entry of the code table, written for the technician who looks after the box.
type Code struct {
	Code     string
	Severity Severity
	Summary  string // what happened
	Action   string // what to do, or what the agent does by itself
}

// Codes returns the table in the order in which it grew. A family stands in it
// once, as "kvs.http.<Exception>".
func Codes() []Code { return append([]Code(nil), codeTable...) }

// Lookup finds a code. A code that is not listed itself but belongs to a family
// gets the text of the family.
func Lookup(code string) (Code, bool) {
	if c, ok := codeIndex[code]; ok {
		return c, true
	}
	for _, f := range families {
		member, ok := strings.CutPrefix(code, f.prefix)
		if ok && f.belongs(member) {
			c := codeIndex[f.entry]
			c.Code = code
			return c, true
		}
	}
	return Code{}, false
}

// families name their members after what the service sends, so that codes the
// service adds one day are still understood.
var families = []struct {
	prefix  string
	entry   string
	belongs func(member string) bool
}{
	{"kvs.media.", "kvs.media.<id>", isNumber},
	{"kvs.http.", "kvs.http.<Exception>", isException},
}

func isNumber(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}

// isException says that a member is the name of an exception or, where the service sends none, a status code of HTTP.
func isException(s string) bool {
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
	if len(s) == 3 && isNumber(s) {
		return true
	}
	return s != "" && len(s) <= 64 && strings.Trim(s[:1], letters) == "" && strings.Trim(s, letters+"0123456789_.") == ""
}

var codeIndex = indexCodes(codeTable)

// indexCodes panics when a code stands in the table twice: the program does not
// start with an ambiguous table.
func indexCodes(table []Code) map[string]Code {
	index := make(map[string]Code, len(table))
	for _, c := range table {
		if _, twice := index[c.Code]; twice {
			panic("mqtt: code " + c.Code + " stands in the table twice")
		}
		index[c.Code] = c
	}
	return index
}

// codeTable is append-only: fleets match on codes, so an entry is never removed,
// renamed or given another meaning. New entries go to the end.
var codeTable = []Code{
	// ingest: one stream and its session with the service
	{"ingest.playing", SeverityInfo, "The stream is playing.", "Nothing to do."},
	{"ingest.stall", SeverityWarning, "The session is open but no frame has come for too long.", "The agent reconnects. If it lasts, check whether the producer is sending, then the network between the box and the service."},
	{"ingest.cut", SeverityWarning, "The connection broke in the middle of a fragment.", "The agent reconnects and resumes after the last whole fragment. If it goes on, check the network."},
	{"ingest.end", SeverityInfo, "The service ended the session, as it does every 40 to 45 minutes or when there is nothing to send.", "Nothing to do: the agent resumes where the session ended."},
	{"ingest.malformed", SeverityWarning, "A fragment of the stream could not be understood and was left out.", "The agent goes on with the next fragment. If it happens often, record the stream and look at it with `edge-agent inspect`: the producer may write broken files."},
	{"ingest.resumed", SeverityInfo, "The stream goes on after an interruption.", "Nothing to do."},
	{"ingest.endpoint", SeverityWarning, "The service did not give a usable address to fetch the stream from.", "The agent asks again. Check [aws] region and endpoint, and proxies; the message has the answer."},
	{"ingest.credentials", SeverityError, "No usable AWS credentials were found, or they could not be renewed.", "Provide credentials to the agent (environment, profile, role) and check the clock of the box. The agent tries again."},
	{"ingest.config", SeverityError, "The configuration of the stream cannot work.", "Correct the stream's section in the configuration; the message names the key."},
	{"ingest.unreachable", SeverityWarning, "The service could not be reached.", "The agent tries again. Check network, DNS, proxy and firewall (TCP 443)."},
	{"ingest.gap", SeverityWarning, "Fragments are missing: the stream could not be resumed exactly where it stopped.", "Nothing to do for this gap. If it happens often, check the retention of the stream and the network."},
	{"ingest.skipped", SeverityWarning, "The stream was too far behind and jumped to now.", "Nothing to do. If it happens often, the network or the box is too slow; max_lag sets the limit."},

	// lag: how far behind the picture is
	{"lag.high", SeverityWarning, "The stream is further behind than max_lag allows.", "Compare the lags in the telemetry: behind the service is the network's part, behind the producer also the camera's, local that of this box."},
	{"lag.normal", SeverityInfo, "The lag is back within max_lag.", "Nothing to do."},

	// decode: the decoder and the renderer process
	{"decode.fallback", SeverityWarning, "A decoder did not work and the agent took the next one.", "The picture continues. If it is now decoded in software, check driver and permissions of the hardware decoder."},
	{"decode.recovered", SeverityInfo, "A decoder that had failed works again.", "Nothing to do."},
	{"decode.crash", SeverityWarning, "The renderer process ended unexpectedly.", "The agent starts it again. If it goes on, update the graphics driver or change [decode] order."},
	{"decode.hang", SeverityWarning, "The renderer process stopped answering, or the decoder in it takes no more frames.", "The agent kills it and starts a new one. If it goes on, update the graphics driver or change [decode] order."},
	{"decode.error", SeverityWarning, "The decoder reported an error, or its pictures cannot be read.", "The agent continues at the next key frame. If it lasts, check the stream with `edge-agent inspect`, then driver and [decode] order."},
	{"decode.codec", SeverityError, "The video has a codec, or a form, that the agent cannot show.", "The message says which. The agent shows H.264 and H.265 that are not encrypted: set the producer to one of them."},
	{"decode.none", SeverityError, "No decoder on this box can decode the stream.", "Install the GStreamer plug-ins (gstreamer1.0-libav decodes in software) or extend [decode] order."},

	// display: where the picture goes
	{"display.none", SeverityError, "No display that can be used was found.", "Connect a display, or set [display] sink. The message, and passed_over in the info, say what was tried. The agent shows the picture once there is one."},
	{"display.connector", SeverityError, "The configured display connector does not exist.", "Correct [display] connector; the message lists those that exist."},
	{"display.lost", SeverityWarning, "The display was disconnected, or stopped working while it was in use.", "The message says which. Check cable and power of the screen, or the desktop session if the picture is in a window. The agent continues when it is back."},
	{"display.back", SeverityInfo, "The display works again.", "Nothing to do."},
	{"display.busy", SeverityError, "Another program is using the display.", "Stop the other program (often a desktop), or set [display] sink to show in a window. The agent tries again."},

	// mqtt: the connection that carries these events
	{"mqtt.unreachable", SeverityWarning, "The MQTT broker could not be reached, or the connection to it was lost.", "The agent tries again and keeps the events. Check [mqtt] broker, network and firewall, and that the broker runs."},
	{"mqtt.refused", SeverityError, "The MQTT broker refused the agent, or something that it asked for.", "The message says what. Check [mqtt] username, password_file and client_id, and the rights of this client on the broker, also to retain messages. The agent tries again."},
	{"mqtt.tls", SeverityError, "No secure connection to the MQTT broker could be made.", "Check the CA, certificate and key files, their dates, the host name in [mqtt] broker and the clock of the box. The agent tries again."},
	{"mqtt.dropped", SeverityWarning, "Events were dropped: the broker was away for too long, or the agent was killed.", "The count says how many are lost. Check why the broker was away, or why the agent was killed."},
	{"mqtt.config", SeverityError, "The MQTT configuration cannot work.", "Correct the [mqtt] section; the message names the key."},
	{"mqtt.flapping", SeverityError, "The MQTT connection is closed again shortly after each connect.", "Most often two agents have the same id: give each box its own [agent] id, and its own [mqtt] client_id if that is set."},

	// control: commands over MQTT
	{"control.rejected", SeverityWarning, "A command was rejected and not carried out.", "The response says why. Commands must be allowed in [control]."},

	// config: the configuration file
	{"config.syntax", SeverityError, "The configuration file is not valid TOML.", "Correct the line that the message names."},
	{"config.unknown_key", SeverityError, "The configuration has a key that does not exist.", "Correct or remove it; the message names the line and the nearest key."},
	{"config.invalid", SeverityError, "A value in the configuration cannot work.", "Correct the value that the message names."},
	{"config.unreadable", SeverityError, "The configuration file could not be read.", "Check the path and the permissions of the file."},

	// capture: files given to inspect and simulate
	{"capture.malformed", SeverityError, "The capture is not what GetMedia sends.", "The message has the byte offset and the element. What came before it is still valid."},
	{"capture.truncated", SeverityError, "The capture ends in the middle of a fragment.", "Record it again if the end matters. What came before is still valid."},
	{"capture.unreadable", SeverityError, "The capture could not be read.", "Check the path and the permissions of the file."},

	// agent: the program itself
	{"demo.failed", SeverityError, "The demo did not show pictures or did not get its telemetry back.", "The message says what was missing; the output above says why."},
	{"agent.started", SeverityInfo, "The agent started.", "Nothing to do."},
	{"agent.stopped", SeverityInfo, "The agent was stopped.", "Nothing to do, if it was meant."},
	{"internal", SeverityError, "Something happened in the agent that never should.", "Please report it with the message and the log. The agent goes on as well as it can."},

	// kvs.media: errors that the service writes into the stream (ids of the GetMedia API)
	{"kvs.media.<id>", SeverityError, "The service ended the stream with an error that the agent does not know.", "The agent tries again. Look the number up in the GetMedia API reference."},
	{"kvs.media.3002", SeverityWarning, "The service failed to write the stream.", "The agent tries again."},
	{"kvs.media.4000", SeverityWarning, "The fragment asked for does not exist in the stream.", "The agent goes on with the next fragment it can get. Check the retention of the stream."},
	{"kvs.media.4500", SeverityError, "Access to the stream's KMS key was denied.", "Allow kms:Decrypt on the stream's key to the agent's identity. The agent tries again."},
	{"kvs.media.4501", SeverityError, "The stream's KMS key is disabled.", "Enable the key in AWS KMS. The agent tries again."},
	{"kvs.media.4502", SeverityError, "The stream's KMS key did not pass validation.", "Check key and key policy in AWS KMS. The agent tries again."},
	{"kvs.media.4503", SeverityWarning, "The stream's KMS key is not available at the moment.", "The agent tries again. If it goes on, check the key in AWS KMS."},
	{"kvs.media.4504", SeverityError, "The stream's KMS key is not meant for this use.", "Give the stream a symmetric key for encryption and decryption."},
	{"kvs.media.4505", SeverityError, "The stream's KMS key is in a state that forbids its use.", "Check in AWS KMS whether it is to be deleted or waits for import."},
	{"kvs.media.4506", SeverityError, "The stream's KMS key was not found.", "Restore the key, or give the stream another one."},
	{"kvs.media.5000", SeverityWarning, "The service had an internal error.", "The agent tries again."},

	// kvs.http: answers of the service that are not a stream
	{"kvs.http.<Exception>", SeverityError, "The service answered with an error that the agent does not know.", "The agent tries again slowly. The detail has the request id for AWS support."},
	{"kvs.http.ClientLimitExceededException", SeverityWarning, "Too many calls are made for this stream.", "The agent waits and tries again. Look for other readers of the stream."},
	{"kvs.http.ConnectionLimitExceededException", SeverityWarning, "Too many readers are connected to this stream.", "The agent waits and tries again. Close other readers; three at a time are allowed."},
	{"kvs.http.InvalidEndpointException", SeverityWarning, "The service says that the stream lives elsewhere.", "The agent asks for the new address and tries again."},
	{"kvs.http.NotAuthorizedException", SeverityError, "The credentials do not allow to read this stream, or they have expired.", "Allow kinesisvideo:GetMedia and kinesisvideo:GetDataEndpoint to the agent's identity; check the clock of the box. The agent tries again slowly."},
	{"kvs.http.AccessDeniedException", SeverityError, "The credentials do not allow this call.", "Allow kinesisvideo:GetMedia and kinesisvideo:GetDataEndpoint to the agent's identity. The agent tries again slowly."},
	{"kvs.http.ExpiredTokenException", SeverityWarning, "The credentials have expired.", "The agent renews them and tries again. If it goes on, renew what the credentials come from and check the clock of the box."},
	{"kvs.http.ResourceNotFoundException", SeverityError, "The stream does not exist in this region and account.", "Check stream name, region and credentials. The agent tries again slowly."},
	{"kvs.http.InvalidArgumentException", SeverityError, "The service refused the start position or another argument.", "The agent tries a newer position. If it goes on, check `start` of the stream."},

	// what came later
	{"ingest.idle", SeverityWarning, "The stream has no new fragments.", "Check whether the producer is running and sends to this stream. The agent continues when fragments come."},
	{"ingest.position", SeverityWarning, "The place to resume a stream at could not be read or stored.", "Check that [agent] state_dir exists, is writable and not full. Until then a restart begins at the newest fragment."},
	{"decode.start", SeverityError, "The renderer process could not be started.", "The agent tries again. Check memory and the number of processes on the box; the message has the cause."},
	{"decode.silent", SeverityWarning, "Frames went into the decoder and no picture came out.", "The agent tries the next decoder. If only one is silent, update its driver or change [decode] order. If all are, check the stream with `edge-agent inspect`."},
	{"decode.dropped", SeverityWarning, "Frames were dropped because the box shows them more slowly than they come.", "dropped_by in the telemetry has the reasons. If it happens often, use a hardware decoder, a smaller picture or a lower frame rate."},
	{"display.snapshot", SeverityWarning, "There was no picture to take.", "Try again once the stream plays."},
	{"simulate.listen", SeverityError, "The simulated service could not listen on its address.", "Give another --listen; port 0 takes a free one."},
	{"mqtt.storage", SeverityWarning, "Events and responses to commands cannot be kept on the disk.", "They wait in memory and are lost when the agent ends. Check that [agent] state_dir exists, is writable, not full and used by one agent only."},
	{"decode.stale", SeverityWarning, "The decoder delivers the same pictures again and again although the stream changes.", "The agent takes the next decoder. If it lasts, update the graphics driver or change [decode] order."},
	{"decode.memory", SeverityWarning, "The renderer process took too much memory and was ended.", "The agent starts it again. If it goes on, update the graphics driver, use a smaller picture, or give the box more memory."},
	{"control.accepted", SeverityInfo, "A command was accepted and is carried out.", "Nothing to do, if it was meant."},
	{"control.retained", SeverityWarning, "A command was rejected because it was retained by the broker.", "Publish commands without the retain flag, and clear the retained message by publishing an empty one."},
	{"control.expired", SeverityWarning, "A command was rejected because it had expired.", "Send it again. If it goes on, compare the clocks of the box and of the sender."},
	{"control.future", SeverityWarning, "A command was rejected because it was issued more than 60 s ahead of the box's clock.", "Compare the clocks of the box and of the sender."},
	{"control.oversize", SeverityWarning, "A command was rejected because it is larger than 16 KiB.", "Send a smaller one."},
	{"control.malformed", SeverityWarning, "A command was rejected because it is not written as the contract says.", "The reason names the field. docs/mqtt.md and docs/schema have the form."},
	{"control.unknown", SeverityWarning, "A command was rejected because its verb does not exist.", "The verbs are in docs/mqtt.md. The agent may be older than the sender."},
	{"control.disabled", SeverityWarning, "A command was rejected because the agent obeys none.", "Set [control] enabled = true and name the verbs in allow, if that is wanted."},
	{"control.not_allowed", SeverityWarning, "A command was rejected because its verb is not allowed.", "Add the verb to [control] allow, if that is wanted."},
	{"control.clock", SeverityWarning, "A command that changes something was rejected because the box's clock is not synchronised.", "Check that the box reaches a time server (timedatectl). In a container or virtual machine whose clock is kept from outside, set [control] clock = \"system\". Verbs that change nothing work meanwhile."},
	{"control.signature", SeverityWarning, "A command was rejected because its signature is missing or wrong.", "Sign it with a key whose public half is in [control] public_keys."},
	{"control.rate", SeverityWarning, "A command was rejected because too many came.", "Send at most 10 at once and one a second after that."},
	{"control.busy", SeverityWarning, "Commands were dropped because too many were waiting.", "Wait for the response before sending the next."},
	{"control.failed", SeverityWarning, "A command was carried out and failed.", "Correct what the reason names and send a new command."},
	{"control.timeout", SeverityWarning, "A command was given up because it took too long.", "Ask for the status. If it goes on, look at the agent's log."},
	{"control.interrupted", SeverityWarning, "The agent ended while it carried out a command.", "Ask for the status to see whether it took effect."},
	{"control.too_large", SeverityWarning, "What a command asked for is too large to be sent.", "Ask for less, such as the status of one stream."},
	{"control.offline", SeverityError, "The agent is not connected to the broker.", "Check the box and its network. The state it left is still on the broker."},
	{"control.no_answer", SeverityError, "No response to the command came in time.", "Check the agent's id and topic prefix, and that you may publish and subscribe below them. The command may still be carried out until it expires."},
	{"mqtt.limit", SeverityWarning, "A message was not sent because it is beyond what the MQTT broker takes.", "The message says which and why. The agent goes on without it. Please report it: messages are meant to fit."},
	{"decode.differs", SeverityWarning, "A decoder works, but its pictures are not those of the software decoder.", "It is used after the software decoders. Update the graphics driver, or look at its picture and name it in [decode] trusted_elements if it is good."},
	{"decode.access", SeverityWarning, "The agent's user may not open device nodes that decoders may be behind.", "Add the user to the groups that the message names (video, render) and start the agent anew. If the nodes are cameras only, leave it as it is."},
	{"shadow.applied", SeverityInfo, "The configuration desired in the device shadow took effect.", "Nothing to do, if it was meant."},
	{"shadow.rejected", SeverityWarning, "The configuration desired in the device shadow was rejected and has changed nothing.", "The detail and the reported part of the shadow say which keys and why. Correct them in the shadow."},
	{"shadow.not_allowed", SeverityWarning, "A configuration is desired in the device shadow, but the agent obeys none.", "Set [control] shadow = true, if that is wanted."},
	{"shadow.not_settable", SeverityWarning, "The device shadow cannot set this key.", "Set it in the configuration file of the box. docs/aws-iot.md lists what a shadow can set."},
	{"shadow.refused", SeverityWarning, "The device shadow service refused a request.", "The message has its reason. Check the policy of the certificate and that the thing exists. The agent tries again."},
	{"shadow.unanswered", SeverityWarning, "The device shadow service did not answer.", "Check the policy of the certificate, and that the broker is AWS IoT Core. The agent tries again."},
	{"shadow.too_large", SeverityWarning, "What would be reported in the device shadow is too large.", "Desire less, or configure fewer streams: a shadow has 8 KB for both. The older report stays."},
	{"shadow.storage", SeverityWarning, "The configuration desired in the device shadow cannot be kept on the disk.", "It is in effect, but not after a restart without a network. Check that [agent] state_dir exists, is writable and not full."},
	{"decode.down", SeverityWarning, "The box went down, twice, while this decoder was tried out.", "It is used after all others and not tried again by itself. Update kernel and driver; then `edge-agent probe --again` tries it once more."},
	{"decode.tracks", SeverityInfo, "The stream has several video tracks. The agent shows one of them and ignores the others.", "To show another one, name it with video_track in the stream's configuration."},
	{"decode.no_video", SeverityError, "The stream has no video track.", "Check the producer: it sends no video, or another stream was meant."},
	{"decode.no_track", SeverityError, "The stream has no video track with the configured number or name.", "Correct video_track in the stream's configuration, or remove it."},
	{"decode.no_parameter_sets", SeverityError, "The video lacks the parameter sets (SPS and PPS, in H.265 also VPS) that every decoder needs.", "The producer must send them in CodecPrivate or before every key frame."},
	{"decode.no_key_frame", SeverityError, "The video has no frame that decoding can begin with.", "Set the camera to send a key frame every 2 s."},

	// what answers that are not a stream brought
	{"ingest.not_stream", SeverityError, "The service's address answered with something that is not a stream.", "A proxy, firewall or login page answers instead of the service: see content type and first bytes in the message. Let the box reach the service directly. The agent tries again."},
	{"ingest.repeated", SeverityWarning, "The service sent fragments again, or fragments from before the position to resume at.", "They were skipped. If it happens again and again, the service ignores the position: check what answers at the endpoint. The agent tries again with growing pauses."},
	{"ingest.clock", SeverityError, "The clock of the box is wrong, and the service refused a request because of it.", "Set the clock, or let the box reach a time server (timedatectl). Until then the agent signs requests with the service's time, if the service tells it."},
	{"ingest.tls", SeverityError, "No secure connection to the service could be made: its certificate is not valid here.", "The message says what is wrong with the certificate. Check the clock of the box, the endpoint, and proxies that inspect TLS. The agent tries again."},
	{"kvs.http.InvalidSignatureException", SeverityError, "The service says that the request's signature is wrong.", "Check the secret access key, the region and the clock of the box. The agent tries again slowly."},
	{"kvs.http.InvalidSignature", SeverityError, "The service says that the request's signature is wrong.", "Check the secret access key, the region and the clock of the box. The agent tries again slowly."},
	{"kvs.http.SignatureDoesNotMatch", SeverityError, "The service says that the request's signature is wrong.", "Check the secret access key, the region and the clock of the box. The agent tries again slowly."},
	{"kvs.http.IncompleteSignatureException", SeverityError, "The service says that the request's signature is incomplete.", "Check the credentials, and proxies that change requests. The agent tries again slowly."},
	{"kvs.http.UnrecognizedClientException", SeverityError, "The service does not know the access key or the session token.", "Check the credentials and the region. The agent fetches credentials again and tries again slowly."},
	{"kvs.http.UnrecognizedClient", SeverityError, "The service does not know the access key or the session token.", "Check the credentials and the region. The agent fetches credentials again and tries again slowly."},
	{"kvs.http.InvalidClientTokenId", SeverityError, "The service does not know the access key or the session token.", "Check the credentials and the region. The agent fetches credentials again and tries again slowly."},
	{"kvs.http.MissingAuthenticationTokenException", SeverityError, "The request came to the service without a signature.", "Check proxies that remove headers, and the endpoint. The agent tries again slowly."},
	{"kvs.http.RequestExpired", SeverityError, "The service says that the request came too late.", "Check the clock of the box (timedatectl) and the network. The agent tries again slowly."},
	{"kvs.http.ThrottlingException", SeverityWarning, "Too many calls are made in this account and region.", "The agent waits and tries again. Look for other programs that call the service."},
	{"kvs.http.InternalFailure", SeverityWarning, "The service had an internal error.", "The agent tries again. If it lasts, look at the AWS Health Dashboard."},
	{"kvs.http.InternalServerError", SeverityWarning, "The service had an internal error.", "The agent tries again. If it lasts, look at the AWS Health Dashboard."},
	{"kvs.http.ServiceUnavailable", SeverityWarning, "The service is not available at the moment.", "The agent tries again. If it lasts, look at the AWS Health Dashboard."},
	{"kvs.http.ServiceUnavailableException", SeverityWarning, "The service is not available at the moment.", "The agent tries again. If it lasts, look at the AWS Health Dashboard."},
	{"kvs.http.400", SeverityError, "The service answered with status 400 and no reason that can be read.", "Check the endpoint, and proxies that change requests or answers. The agent tries again."},
	{"kvs.http.401", SeverityError, "The answer was status 401 without a reason of the service.", "Check the credentials, and whether a proxy asks for a login. The agent tries again slowly."},
	{"kvs.http.403", SeverityError, "The answer was status 403 without a reason of the service.", "Check the permissions of the credentials, and proxies that block the service. The agent tries again slowly."},
	{"kvs.http.404", SeverityError, "The answer was status 404 without a reason of the service.", "Check [aws] endpoint and the stream's name and region. The agent tries again slowly."},
	{"kvs.http.407", SeverityError, "A proxy asks for a login.", "Put user and password into HTTPS_PROXY, or let the box reach the service directly. The agent tries again."},
	{"kvs.http.429", SeverityWarning, "Too many calls are made.", "The agent waits and tries again. Look for other readers of the stream."},
	{"kvs.http.500", SeverityWarning, "The answer was status 500: an internal error of the service or of a proxy.", "The agent tries again. If it lasts, look at the AWS Health Dashboard and at proxies."},
	{"kvs.http.502", SeverityWarning, "The answer was status 502: a proxy or load balancer got no answer from the service.", "The agent tries again. If it lasts, look at the AWS Health Dashboard and at proxies."},
	{"kvs.http.503", SeverityWarning, "The answer was status 503: the service or a proxy is not available at the moment.", "The agent tries again. If it lasts, look at the AWS Health Dashboard and at proxies."},
	{"kvs.http.504", SeverityWarning, "The answer was status 504: a proxy or load balancer got no answer in time.", "The agent tries again. If it lasts, look at the AWS Health Dashboard and at proxies."},
	{"decode.stream", SeverityWarning, "No decoder makes a picture of the stream's frames: they are damaged or incomplete.", "The decoders are not to blame. Check the producer's encoder; edge-agent inspect shows what it sends. The picture returns with the first frame that can be decoded."},
	{"display.access", SeverityError, "The desktop session refuses access to its display.", "Set XAUTHORITY to the cookie file of the user who started the X server, or run the agent as the user of the session. The agent tries again."},
	{"mqtt.protocol", SeverityError, "The MQTT broker sent an invalid packet, so the connection was closed.", "The message says what was wrong with it. Check that [mqtt] broker is the address of an MQTT 3.1.1 broker, and update the broker. The agent connects again."},
	{"storage.damaged", SeverityWarning, "A file in the state directory was damaged. It was moved aside and a new one was started.", "What it held is lost: positions, waiting events, trials of decoders or records of commands. If it happens again, check the disk (dmesg, smartctl)."},
	{"storage.missing", SeverityWarning, "The state directory, or a file in it, was removed while the agent was running.", "The agent makes it again where it may, and writes what it still knows. Find out what removes it, such as a cleanup of temporary files."},
	{"decode.sandbox", SeverityWarning, "The process that parses what cameras send could do more than it needs to.", "The message says what is missing: landlock needs Linux 5.13 or later and its name in lsm=; for the user see [decode] renderer_user, or set sandbox = false there."},
	{"storage.unusable", SeverityWarning, "The state directory cannot be used.", "Check that [agent] state_dir exists, is writable, not full and used by one agent only, and restart the agent. Until then nothing outlives a restart."},
	{"decode.renderer", SeverityError, "The renderer program, which decodes and shows, is missing or cannot run on this box.", "Install what the message names, or agent and renderer of one release. The agent tries again and goes on without a picture."},
	{"agent.http", SeverityError, "The address of [http] listen cannot be used, so there is no status page.", "Stop the other program or choose another port, or correct the address or token_file. The agent tries again; all else goes on."},
	{"agent.socket", SeverityError, "The socket of edge-agent status cannot be used.", "Stop the other agent, or give each one a socket of its own ([http] socket). The agent tries again; all else goes on."},
	{"check.dns", SeverityError, "A name cannot be resolved.", "Check the spelling, the network cable and the name server (resolvectl status). In a network without the internet, the names have to be known there."},
	{"check.clock", SeverityWarning, "Nobody keeps the clock of the box right.", "Enable time synchronisation (timedatectl set-ntp true). Where the host of a container keeps the clock, set [control] clock = \"system\". Until then commands that change something are refused."},
	{"display.path", SeverityWarning, "The way to the screen that spares the processor does not work, so the processor scales and converts every picture.", "Nothing has to be done unless the box is too slow. The message says what is missing: an update of the kernel may bring it. Set [display] path to \"copy\" to end this message."},
}
