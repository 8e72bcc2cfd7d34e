// Calls podmirror.v1.Cache as test_grpc_clients.py says, by Go's gRPC.
//
// client [options] ADDRESS METHOD REQUEST [METHOD REQUEST]...
//
// A request is the JSON of its message. All calls go over one connection; each prints a line of
// JSON with its status, what is said of it, and the answers.
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"
)

const service = "podmirror.v1.Cache"

var (
	descriptors = flag.String("descriptors", "", "what protoc --descriptor_set_out wrote")
	plain       = flag.Bool("plain", false, "no TLS")
	ca          = flag.String("ca", "", "who may have signed the daemon's certificate")
	cert        = flag.String("cert", "", "the client's certificate")
	key         = flag.String("key", "", "its key")
	token       = flag.String("token", "", "a bearer token")
)

func must[T any](value T, err error) T {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	return value
}

func cache() protoreflect.MethodDescriptors {
	set := &descriptorpb.FileDescriptorSet{}
	if err := proto.Unmarshal(must(os.ReadFile(*descriptors)), set); err != nil {
		must(0, err)
	}
	files := must(protodesc.NewFiles(set))
	return must(files.FindDescriptorByName(service)).(protoreflect.ServiceDescriptor).Methods()
}

func transport() credentials.TransportCredentials {
	if *plain {
		return insecure.NewCredentials()
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(must(os.ReadFile(*ca))) {
		must(0, errors.New("no certificate in "+*ca))
	}
	config := &tls.Config{RootCAs: roots}
	if *cert != "" {
		own := must(tls.LoadX509KeyPair(*cert, *key))
		// Of Certificates Go would send none that is signed by nobody whom the daemon names.
		config.GetClientCertificate =
			func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &own, nil }
	}
	return credentials.NewTLS(config)
}

// Until the end of what comes: a call with one answer is a stream of one.
func ask(link *grpc.ClientConn, method protoreflect.MethodDescriptor, request string) (
	answers []json.RawMessage, err error) {
	in := dynamicpb.NewMessage(method.Input())
	if err := protojson.Unmarshal([]byte(request), in); err != nil {
		must(0, err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if *token != "" {
		ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+*token)
	}
	stream, err := link.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true},
		"/"+service+"/"+string(method.Name()))
	if err != nil {
		return nil, err
	}
	if err := stream.SendMsg(in); err != nil && err != io.EOF {
		return nil, err
	}
	if err := stream.CloseSend(); err != nil {
		return nil, err
	}
	for {
		out := dynamicpb.NewMessage(method.Output())
		if err := stream.RecvMsg(out); err == io.EOF {
			return answers, nil
		} else if err != nil {
			return answers, err
		}
		answers = append(answers, must(protojson.Marshal(out)))
	}
}

func main() {
	flag.Parse()
	methods := cache()
	link := must(grpc.NewClient(flag.Arg(0), grpc.WithTransportCredentials(transport())))
	defer link.Close()
	for i := 1; i+1 < flag.NArg(); i += 2 {
		method := methods.ByName(protoreflect.Name(flag.Arg(i)))
		if method == nil {
			must(0, errors.New("no method "+flag.Arg(i)))
		}
		answers, err := ask(link, method, flag.Arg(i+1))
		told := status.Convert(err)
		line := map[string]any{"code": told.Code().String(), "message": told.Message(),
			"answers": answers}
		fmt.Println(string(must(json.Marshal(line))))
	}
}
